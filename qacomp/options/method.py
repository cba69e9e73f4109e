"""Hold a method and its hyper-parameters in one value, such as `sinreq:domain=wrpn,learn_bits=true`.

This file doesn't know the methods, so that a setting can be read without importing torch. Hyper-parameters stay text
until the method is looked up (see `method_table`), which has their types.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from json import dumps, loads
from typing import Any, ClassVar, Protocol, TypeAlias

from qacomp.errors import ConfigError

_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,99}", re.ASCII)
_ITEM = re.compile(r'([^\W\d]\w{0,99})=("(?:[^"\\]|\\.)*"|[^",][^,]*|)(,|$)', re.ASCII | re.DOTALL)
_LONGEST = 10_000  # characters of a method's text


class HyperParameters(Protocol):
    """The type of an instance of a method's dataclass of hyper-parameters, or of a MethodChoice."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


MethodLike: TypeAlias = str | Mapping[str, Any] | HyperParameters
"""A method in Python: "exp:init=uniform", {"name": "exp", "init": "uniform"}, or an instance of its dataclass."""


@dataclass(frozen=True)
class MethodChoice:
    """A method's name, "none" for no method, and the text of the hyper-parameters that were given."""

    name: str
    given: Mapping[str, str] = field(default_factory=dict)

    @property
    def chosen(self) -> bool:
        """Return whether a method was chosen."""
        return self.name != "none"

    def filled(self, **values: Any) -> "MethodChoice":
        """Return this choice with `values` for hyper-parameters that weren't given."""
        return MethodChoice(self.name, {name: as_text(value) for name, value in values.items()} | {**self.given})

    def __str__(self) -> str:
        """Return text from which `parse_method` makes an equal value."""
        items = ",".join(f"{name}={_quoted(text)}" for name, text in sorted(self.given.items()))
        return f"{self.name}:{items}" if items else self.name


NO_METHOD = MethodChoice("none")


def as_text(value: Any) -> str:
    """Return a hyper-parameter's value as text. Raises ValueError unless it is text, a number or a bool."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.0f}" if value.is_integer() and abs(value) < 1e15 else repr(value)
    if isinstance(value, str | int):
        return str(value)
    raise ValueError("a hyper-parameter must be text, a number, true or false")


def parse_method(text: str, where: str) -> MethodChoice:
    """Parse `NAME` or `NAME:HYPER_PARAMETER=VALUE,...`. Raises ConfigError, which begins with `where`."""
    name, colon, rest = text.partition(":")
    shown = repr(text[:200])
    if len(text) > _LONGEST or not _NAME.fullmatch(name):
        raise ConfigError(f"{where} = {shown}: write NAME or NAME:HYPER_PARAMETER=VALUE,...")
    given: dict[str, str] = {}
    place, ended = 0, ":"
    while colon and ended:
        found = _ITEM.match(rest, place)
        if found is None:
            raise ConfigError(
                f"{where} = {shown}: after '{name}:' write HYPER_PARAMETER=VALUE, several separated by commas"
            )
        if found[1] in given:
            raise ConfigError(f"{where} = {shown}: {found[1]} is given twice")
        given[found[1]] = _unquoted(found[2], f"{where} = {shown}")
        place, ended = found.end(), found[3]
    return MethodChoice(name, given)


def method_of_table(table: Mapping[str, Any], where: str) -> MethodChoice:
    """Read a TOML table {"name": ..., hyper-parameter: value}. Raises ConfigError, which begins with `where`."""
    name = table.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigError(f"{where}: a table needs the method's name: {{name = 'exp'}}")
    return MethodChoice(name, _texts({key: value for key, value in table.items() if key != "name"}, where))


def read_method(value: MethodLike, where: str) -> MethodChoice | None:
    """Return the method that text or a table names; None for an object of hyper-parameters. Raises ConfigError."""
    if isinstance(value, MethodChoice):
        return value
    if isinstance(value, str):
        return parse_method(value, where)
    return method_of_table(value, where) if isinstance(value, Mapping) else None


def given_in(options: Any, where: str) -> dict[str, str]:
    """Return the fields of a method's dataclass that differ from their defaults, as text. Raises ConfigError."""
    if not is_dataclass(options) or isinstance(options, type):
        raise ConfigError(
            f"{where} = {options!r:.100}: must be a method's name, NAME:HYPER_PARAMETER=VALUE, a table with its name, "
            "or an instance of its dataclass"
        )
    values = {found: getattr(options, found.name) for found in fields(options)}
    return _texts({found.name: value for found, value in values.items() if value != found.default}, where)


def _texts(values: Mapping[str, Any], where: str) -> dict[str, str]:
    texts = {}
    for name, value in values.items():
        if not re.fullmatch(r"[^\W\d]\w{0,99}", str(name), re.ASCII):
            raise ConfigError(f"{where}: {name!r:.100} isn't a valid name of a hyper-parameter")
        try:
            texts[name] = as_text(value)
        except ValueError as error:
            raise ConfigError(f"{where}: {name} = {value!r:.100}: {error}") from error
    return texts


def _quoted(text: str) -> str:
    """Return a value for the text of a method; it gets JSON quotes if it holds a comma or begins with a quote."""
    plain = "," not in text and not text.startswith('"') and text.isprintable() and text == text.strip()
    return text if plain else dumps(text)


def _unquoted(text: str, where: str) -> str:
    if not text.startswith('"'):
        return text
    try:
        value: str = loads(text)
    except ValueError as error:
        raise ConfigError(f"{where}: {text[:100]} isn't valid quoted text: {error}") from error
    return value
