"""Name and value pairs of CycloneDX: facts that its schema has no field of its own for."""

import json
import tomllib
from collections.abc import Iterable
from typing import Any

Property = dict[str, str]


def properties(facts: Iterable[tuple[str, Any]]) -> list[Property]:
    """Return CycloneDX properties `qacomp:NAME` of (name, value), without those whose value is None."""
    return [{"name": f"qacomp:{name}", "value": text(value)} for name, value in facts if value is not None]


def text(value: Any) -> str:
    """Return a value as text: a string as it is, anything else as JSON with sorted keys."""
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)


def settings_facts(settings: str | None) -> list[tuple[str, Any]]:
    """Return (name, value) of each setting in a container's TOML; text that isn't TOML is one value, `settings`."""
    if settings is None:
        return []
    try:
        read = tomllib.loads(settings)
        return [(f"setting:{name}", text(value)) for name, value in read.items()]
    except (ValueError, RecursionError):  # another program wrote the container
        return [("settings", settings)]
