"""The methods of one kind by name, each with the dataclass in which it declares its hyper-parameters.

A method stands in one file: its hyper-parameters are fields of a frozen dataclass, made with `option`, and its
decorator registers both. The command line, its help and completion, TOML, the JSON Schema, docs/options.md and the
checks read them here.
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
    """Methods of one kind: a registry whose members have hyper-parameters."""

    def __init__(
        self, setting: str, common: type, registry: "Registry[tuple[T, type]]", *, optional: bool = True
    ) -> None:
        """Take the setting of CompressConfig that chooses one, and the dataclass from which each one's is derived.

        optional: `none` is a choice too.
        """
        self.setting, self.common, self.registry, self.optional = setting, common, registry, optional

    def register(self, name: str, options: type | None = None) -> Callable[[T], T]:
        """Return a decorator that makes a method known as `name`, with its dataclass of hyper-parameters.

        Raises TypeError for a dataclass that isn't derived from the common one, or with a field that isn't declared;
        ValueError for a name that is taken.
        """
        own = self.common if options is None else options
        if not issubclass(own, self.common):
            raise TypeError(f"{own.__name__}: must be derived from {self.common.__name__}")
        for found in fields(own):  # type: ignore[arg-type]  # of any dataclass
            if "option" not in found.metadata:
                raise TypeError(f"{own.__name__}.{found.name}: declare it: option(default, Option(help))")

        def add(method: T) -> T:
            self.registry.add(name, (method, own))
            return method

        return add

    def names(self) -> list[str]:
        """Return the names of all methods, sorted; those of installed packages without importing them."""
        return sorted(self.registry.names())

    def words(self, names: Iterable[str]) -> list[str]:
        """Return `names`, sorted, behind `none` where that is a choice."""
        return ["none", *sorted(names)] if self.optional else sorted(names)

    def find(self, name: str) -> T:
        """Return the method called `name`. Raise ConfigError, which lists the known ones."""
        return self.registry.find(name)[0]

    def hyperparameters(self, name: str) -> "tuple[Field[Any], ...]":
        """Return the fields of a method's dataclass; each one's metadata has its Option. Raise ConfigError."""
        return fields(self.registry.find(name)[1])

    def choice(self, value: MethodLike, where: str = "method") -> MethodChoice:
        """Return what Python gives for a method: text, a mapping with its name, or an object of its hyper-parameters.

        Raises ConfigError, which begins with `where`.
        """
        read = read_method(value, where)
        if read is not None:
            return read
        given = given_in(value, where)
        names = [name for name, (_, own) in self.registry.here().items() if own is type(value)]
        if len(names) != 1:
            known = f"belongs to {' and '.join(names)}" if names else f"belongs to no {self.registry.kind}"
            raise ConfigError(f"{where}: {type(value).__name__} {known}; give the name: 'NAME:...'")
        return MethodChoice(names[0], given)

    def options(self, choice: MethodChoice) -> Any:
        """Return the dataclass of the chosen method: what was given, the defaults of the rest.

        Raises ConfigError for an unknown method or hyper-parameter, for a value that it can't take, and for one that
        has no effect.
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
        """Yield (method, field) for each hyper-parameter of each method that is imported, sorted by method."""
        for name in sorted(self.registry.here()):
            for found in self.hyperparameters(name):
                yield name, found


def method_table(declared: Option) -> MethodTable[Any]:
    """Return the table that a setting chooses from. The table's room is imported here, not before."""
    assert declared.methods is not None
    module, _, name = declared.methods.partition(":")
    table: MethodTable[Any] = getattr(import_module(module), name)
    return table


def as_method(where: str, value: MethodLike, declared: Option) -> MethodChoice:
    """Return the method that a setting is given. The methods are imported for an object of hyper-parameters alone.

    Raises ConfigError, which begins with `where`.
    """
    read = read_method(value, where)
    return method_table(declared).choice(value, where) if read is None else read


def _value(where: str, text: str, wanted: str) -> bool | int | float | str:
    """Return a hyper-parameter's text as its declared type. Raise ConfigError, which begins with `where`."""
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
    """Return "; did you mean ...?" with the most similar name, or the names that there are."""
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean '{close[0]}'?" if close else f"; it takes {', '.join(known) or 'none'}"
