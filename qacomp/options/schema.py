"""Make the JSON Schema of the settings, for editors that check and complete a TOML file."""

from collections.abc import Iterable
from dataclasses import Field, fields
from typing import Any

from qacomp.options.converting import type_name
from qacomp.options.declaration import Bounds, Option, declarations, default_of
from qacomp.options.method_table import method_table

_TYPES = {"int": "integer", "float": "number", "bool": "boolean", "str": "string"}


def json_schema(config: Any) -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a TOML file of settings; config: the dataclass that declares them."""
    known = declarations(config)
    properties = {}
    for found in fields(config):
        declared = known[found.name]
        own = declared if declared.of is None else known[declared.of]
        text = own.help if own is declared else f"{declared.of}, by layer."
        properties[found.name] = _setting(found, declared, own) | {"description": text}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Settings of qacomp compress",
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
    }


def _setting(found: "Field[Any]", declared: Option, own: Option) -> dict[str, Any]:
    """Return the entry of one setting, without its description; `own`: the declaration of its values."""
    if declared.methods is not None:
        return _methods(declared, str(default_of(found)))
    if declared.parts is not None:
        return {"anyOf": [{"type": "string"}, _table(fields(declared.parts), {})]}
    return _entry(found, own)


def _entry(found: "Field[Any]", own: Option) -> dict[str, Any]:
    """Return the schema of a field: type, limits, words and default; own: its declaration."""
    entry = _typed(type_name(found.type), own.bounds)
    if own.choices:
        entry["enum"] = list(own.choices)
    default = default_of(found)
    if default is not None:
        entry["default"] = list(default) if isinstance(default, tuple) else default
    return entry


def _methods(declared: Option, default: str) -> dict[str, Any]:
    """Return the schema of a method: text, or a table with its name and hyper-parameters."""
    table = method_table(declared)
    forms: list[dict[str, Any]] = [{"type": "string", "examples": table.words(table.names())}]
    for name in sorted(table.registry.here()):
        forms.append(_table(table.hyperparameters(name), {"name": {"const": name}}) | {"required": ["name"]})
    return {"anyOf": forms, "default": default}


def _table(declared: "Iterable[Field[Any]]", first: dict[str, Any]) -> dict[str, Any]:
    """Return the form of a table with the entries `first` and those of the declared fields."""
    entries = {found.name: (found, found.metadata["option"]) for found in declared}
    own = {name: _entry(found, option) | {"description": option.help} for name, (found, option) in entries.items()}
    return {"type": "object", "properties": first | own, "additionalProperties": False}


def _typed(wanted: str, bounds: Bounds | None) -> dict[str, Any]:
    """Return the schema of an annotation such as `int`, `tuple[float, ...] | None` or `Mapping[str, int]`."""
    wanted = wanted.removesuffix(" | None")
    if wanted.startswith("Mapping"):
        kind = wanted.removeprefix("Mapping[str, ").removesuffix("]")
        return {"type": "object", "additionalProperties": _limited({"type": _TYPES[kind]}, bounds)}
    if wanted.startswith("tuple"):
        first, _, second = wanted.removeprefix("tuple[").removesuffix("]").partition(", ")
        entry: dict[str, Any] = {"type": "array", "items": _limited({"type": _TYPES[first]}, bounds)}
        return entry if second == "..." else entry | {"minItems": 2, "maxItems": 2}
    return _limited({"type": _TYPES[wanted]}, bounds)


def _limited(entry: dict[str, Any], bounds: Bounds | None) -> dict[str, Any]:
    """Return `entry` with the bounds added in the words of JSON Schema."""
    if bounds is None:
        return entry
    low, high = ("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")
    limits = {}
    if bounds.low is not None:
        limits[low[0] if bounds.open_low else low[1]] = bounds.low
    if bounds.high is not None:
        limits[high[0] if bounds.open_high else high[1]] = bounds.high
    return entry | limits
