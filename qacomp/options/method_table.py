"""Keep the methods of one kind by name, each with the dataclass that declares its hyper-parameters.

A method is one file: its hyper-parameters are fields of a frozen dataclass, declared with `option`, and a decorator
registers both. The command line, its help and completion, TOML, the JSON Schema, docs/options.md and the checks read
them here.
"""

import difflib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import Field, fields
from importlib import import_module
from typing import Any, Generic, TypeVar

from qacomp.errors import ConfigError
from qacomp.options.converting import type_name
from qacomp.options.declaration import Option, default_of
from qacomp.options.limits import check_value
from qacomp.options.method import MethodChoice, MethodLike, given_in, read_method
from qacomp.options.registry import Registry

T = TypeVar("T")


class MethodTable(Generic[T]):
    """The methods of one kind: a registry whose members have hyper-parameters."""

    def __init__(
        self, setting: str, common: type, registry: "Registry[tuple[T, type]]", *, optional: bool = True
    ) -> None:
        """Store the name of the setting that chooses a method, and the base class of the methods' dataclasses.

        optional: whether `none` can be chosen.
        """
        self.setting, self.common, self.registry, self.optional = setting, common, registry, optional

    def register(self, name: str, options: type | None = None) -> Callable[[T], T]:
        """Return a decorator that registers a method under `name` with its dataclass of hyper-parameters.

        Raises TypeError if the dataclass isn't derived from the base class or has a field without a declaration, and
        ValueError if the name is taken.
        """
        own = self.common if options is None else options
        if not issubclass(own, self.common):
            raise TypeError(f"{own.__name__}: must be derived from {self.common.__name__}")
        for found in fields(own):  # type: ignore[arg-type]  # of any dataclass
            if "option" not in found.metadata:
                raise TypeError(f"{own.__name__}.{found.name}: isn't declared; write option(default, Option(help))")

        def add(method: T) -> T:
            self.registry.add(name, (method, own))
            return method

        return add

    def names(self) -> list[str]:
        """Return the names of all methods, sorted; installed packages with methods aren't imported."""
        return sorted(self.registry.names())

    def words(self, names: Iterable[str]) -> list[str]:
        """Return `names`, sorted, with `none` in front if it can be chosen."""
        return ["none", *sorted(names)] if self.optional else sorted(names)

    def find(self, name: str) -> T:
        """Return the method called `name`. Raises ConfigError, which lists the known ones."""
        return self.registry.find(name)[0]

    def hyperparameters(self, name: str) -> "tuple[Field[Any], ...]":
        """Return the fields of a method's dataclass, with an Option in their metadata. Raises ConfigError."""
        return fields(self.registry.find(name)[1])

    def choice(self, value: MethodLike, where: str = "method") -> MethodChoice:
        """Return the method that text, a mapping with its name or an instance of its dataclass gives.

        Raises ConfigError, which begins with `where`.
        """
        read = read_method(value, where)
        if read is not None:
            return read
        given = given_in(value, where)
        names = [name for name, (_, own) in self.registry.here().items() if own is type(value)]
        if len(names) != 1:
            known = f"belongs to {' and '.join(names)}" if names else f"belongs to no {self.registry.kind}"
            raise ConfigError(f"{where}: {type(value).__name__} {known}; give the method as text: 'NAME:...'")
        return MethodChoice(names[0], given)

    def options(self, choice: MethodChoice) -> Any:
        """Return the dataclass of the chosen method with the given hyper-parameters and defaults for the others.

        Raises ConfigError for an unknown method or hyper-parameter, for an invalid value, and for a hyper-parameter
        without effect.
        """
        where = f"--{self.setting} {choice.name}"
        if not choice.chosen and self.optional:
            if choice.given:
                raise ConfigError(f"{where}: takes no hyper-parameters")
            return self.common()
        own = self.registry.find(choice.name)[1]
        known = {found.name: found for found in fields(own)}
        values = {}
        for name, text in choice.given.items():
            if name not in known:
                raise ConfigError(f"{where}: unknown hyper-parameter '{name}'{_nearest(name, list(known))}")
            values[name] = _value(f"{where}: {name}", text, type_name(known[name].type))
            try:
                check_value(name, known[name].metadata["option"], values[name])
            except ConfigError as error:
                raise ConfigError(f"{where}: {error}") from None
        options = own(**values)
        for name, value in values.items():
            declared: Option = known[name].metadata["option"]
            for need in declared.needs:
                if value != default_of(known[name]) and not need.holds(options):
                    raise ConfigError(f"{where}: {name} has no effect {need.reason}")
        return options

    def each(self) -> "Iterator[tuple[str, Field[Any]]]":
        """Yield (method, field) for each hyper-parameter of each imported method, sorted by method."""
        for name in sorted(self.registry.here()):
            for found in self.hyperparameters(name):
                yield name, found


def method_table(declared: Option) -> MethodTable[Any]:
    """Return the table from which a setting chooses its method; its module is imported only here."""
    assert declared.methods is not None
    module, _, name = declared.methods.partition(":")
    table: MethodTable[Any] = getattr(import_module(module), name)
    return table


def as_method(where: str, value: MethodLike, declared: Option) -> MethodChoice:
    """Return the method that a setting's value names; methods are imported only for an instance of a dataclass.

    Raises ConfigError, which begins with `where`.
    """
    read = read_method(value, where)
    return method_table(declared).choice(value, where) if read is None else read


def _value(where: str, text: str, wanted: str) -> bool | int | float | str:
    """Convert a hyper-parameter's text to its declared type. Raises ConfigError, which begins with `where`."""
    kind = wanted.removesuffix(" | None")
    if kind == "bool":
        if text not in ("true", "false"):
            raise ConfigError(f"{where} = {text!r:.100}: must be true or false")
        return text == "true"
    if kind in ("int", "float"):
        try:
            return int(text) if kind == "int" else float(text)
        except ValueError:
            number = "a whole number" if kind == "int" else "a number"
            raise ConfigError(f"{where} = {text!r:.100}: must be {number}") from None
    return text


def _nearest(name: str, known: list[str]) -> str:
    """Return a hint for a message: the most similar known name, or all names."""
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean '{close[0]}'?" if close else f"; known are {', '.join(known) or 'none'}"
