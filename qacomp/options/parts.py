"""Read and write a setting that consists of several parts, such as `size=32x48,mean=0.485,0.456,0.406`.

The parts are the fields of a frozen dataclass, each declared with `option`. An instance of the dataclass is the
setting's value, so code reads `config.preprocess.size`. Users give text, a TOML table, or such an instance.
"""

import difflib
import re
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeAlias, TypeVar

from qacomp.errors import ConfigError
from qacomp.options.converting import convert, type_name
from qacomp.options.declaration import declarations, default_of
from qacomp.options.limits import check_value
from qacomp.options.method import HyperParameters

P = TypeVar("P", bound=HyperParameters)
PartsLike: TypeAlias = str | Mapping[str, Any] | HyperParameters
"""A setting of several parts in Python: "size=32,mean=0.5", {"size": [32, 32]}, or an instance of its dataclass."""
_LONGEST = 10_000  # characters of a setting's text


def read_parts(where: str, value: PartsLike | None, kind: type[P]) -> P:
    """Return `value` as an instance of the dataclass `kind`; None and parts that aren't given get the defaults.

    Raises ConfigError, which begins with `where`, for an unknown part and for a value of a wrong type. Bounds are
    checked by `check_parts`.
    """
    if isinstance(value, kind):
        return value
    types = {found.name: type_name(found.type) for found in fields(kind)}
    if isinstance(value, str):
        value = _of_text(where, value, types)
    if value is None:
        value = {}
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where} = {value!r:.100}: write PART=VALUE,... or a table; {_known(types)}")
    parts = {}
    for name, given in value.items():
        if name not in types:
            raise ConfigError(f"{where}: unknown part {str(name)[:80]!r}; {_nearest(str(name), types)}")
        parts[name] = convert(where, name, given, types[name])
    return kind(**parts)


def check_parts(setting: str, value: HyperParameters) -> None:
    """Raise ConfigError, which begins with `setting`, if the value of a part is invalid."""
    for name, declared in declarations(value).items():
        try:
            check_value(name, declared, getattr(value, name))
        except ConfigError as error:
            raise ConfigError(f"{setting}: {error}") from None


def parts_text(value: HyperParameters) -> str | None:
    """Return the text from which `read_parts` reads an equal value; None if every part has its default."""
    given = {found.name: getattr(value, found.name) for found in fields(value)}
    if all(given[found.name] == default_of(found) for found in fields(value)):
        return None
    types = {found.name: type_name(found.type) for found in fields(value)}
    return ",".join(f"{name}={_text(part, types[name])}" for name, part in given.items() if part is not None)


def _of_text(where: str, text: str, types: Mapping[str, str]) -> dict[str, Any]:
    """Return the parts in a text such as `mean=0.5,0.4`; a word without `=` belongs to the part before it."""
    shown = repr(text[:200])
    if len(text) > _LONGEST:
        raise ConfigError(f"{where} = {shown}: is longer than {_LONGEST:,} characters")
    words: dict[str, list[str]] = {}
    last: list[str] | None = None
    for word in text.split(",") if text else ():
        name, equals, rest = word.partition("=")
        if equals:
            if name.strip() in words:
                raise ConfigError(f"{where} = {shown}: {name.strip()} is given twice")
            last = words.setdefault(name.strip(), [])
        if last is None:
            raise ConfigError(f"{where} = {shown}: write PART=VALUE, several separated by commas; {_known(types)}")
        last.append((rest if equals else word).strip())
    return {name: _of_words(f"{where}: {name}", ",".join(own), types.get(name, "")) for name, own in words.items()}


def _of_words(where: str, text: str, wanted: str) -> Any:
    """Return the value of a part's text, of a type that TOML has. Raises ConfigError, which begins with `where`."""
    kind = wanted.removesuffix(" | None")
    if kind == "tuple[int, int]":
        sides = re.fullmatch(r"(\d{1,9})(?:x(\d{1,9}))?", text.lower(), re.ASCII)
        if sides is None:
            raise ConfigError(f"{where} = {text[:100]!r}: write 32 or 32x48")
        return [int(sides[1]), int(sides[2] or sides[1])]
    if kind not in ("int", "float", "tuple[float, ...]"):
        return text
    try:
        if kind == "int":
            return int(text)
        return float(text) if kind == "float" else [float(word) for word in text.split(",")]
    except ValueError:
        form = "a whole number" if kind == "int" else "a number" if kind == "float" else "numbers separated by commas"
        raise ConfigError(f"{where} = {text[:100]!r}: must be {form}") from None


def _text(value: Any, wanted: str) -> str:
    if wanted.startswith("tuple[int, int]"):
        return f"{value[0]}x{value[1]}"
    if isinstance(value, tuple):
        return ",".join(_text(one, "") for one in value)
    return f"{value:.0f}" if isinstance(value, float) and value.is_integer() and abs(value) < 1e15 else str(value)


def _nearest(name: str, known: Mapping[str, str]) -> str:
    close = difflib.get_close_matches(name[:80], known, n=1)
    return f"did you mean '{close[0]}'?" if close else _known(known)


def _known(names: Mapping[str, str]) -> str:
    return f"its parts are {', '.join(names)}"
