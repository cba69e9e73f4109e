"""Write the metadata section, a JSON object, in one canonical form, and read it strictly."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from qacomp.formats.errors import HeaderError

MAX_DEPTH = 100


def write_metadata(meta: Mapping[str, Any]) -> bytes:
    """Return the metadata as canonical JSON: sorted keys, no spaces, UTF-8; equal objects give equal bytes."""
    return json.dumps(meta, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def read_metadata(data: bytes) -> dict[str, Any]:
    """Read the JSON object. Raises HeaderError for JSON that no writer produces.

    That is: a number that isn't finite or has thousands of digits, a repeated key, text that isn't valid Unicode, and
    objects nested more than MAX_DEPTH deep.
    """
    try:
        value = json.loads(data.decode(), object_pairs_hook=_object, parse_constant=_refuse)
        if not _shallow(value):
            raise ValueError("it is nested too deep")
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError) as error:
        raise HeaderError(f"the metadata isn't valid JSON ({error}); the file is damaged") from error
    if not isinstance(value, dict):
        raise HeaderError("the metadata isn't a JSON object; the file is damaged")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is repeated")
    return found


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} isn't a JSON number")


def _shallow(value: Any) -> bool:
    """Return whether the value is nested at most MAX_DEPTH deep."""
    layer: Iterable[Any] = [value]
    for _ in range(MAX_DEPTH):
        layer = [
            child
            for parent in layer
            if isinstance(parent, dict | list)
            for child in (parent.values() if isinstance(parent, dict) else parent)
        ]
        if not layer:
            return True
    return False
