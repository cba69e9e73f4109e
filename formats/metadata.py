"""The metadata section: a JSON object, written in one form and read with every liberty of JSON's taken back."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from qacomp.formats.errors import HeaderError

MAX_DEPTH = 100


def write_metadata(meta: Mapping[str, Any]) -> bytes:
    """Return metadata in the one form that the same object always gives."""
    return json.dumps(meta, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def read_metadata(data: bytes) -> dict[str, Any]:
    """Read the object again. Raises HeaderError for what no writer gives.

    So no reader meets a number that isn't finite or has thousands of digits, a key that stands twice, text that isn't
    Unicode, or objects in each other more than MAX_DEPTH deep.
    """
    try:
        value = json.loads(data.decode(), object_pairs_hook=_object, parse_constant=_refuse)
        if not _shallow(value):
            raise ValueError("it is nested too deep")
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError) as error:
        raise HeaderError("the metadata is no JSON that a writer gives; the file is damaged") from error
    if not isinstance(value, dict):
        raise HeaderError("the metadata is no JSON object; the file is damaged")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice")
    return found


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number of JSON's")


def _shallow(value: Any) -> bool:
    """Return whether nothing lies deeper than MAX_DEPTH."""
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
