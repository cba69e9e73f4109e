"""Keep the metadata of .safetensors files (names and texts) in the container and restore it. Doesn't need torch."""

from collections.abc import Mapping
from typing import Any

META_KEY = "safetensors"
LARGEST = 1 << 20  # bytes; training scripts store their settings there, which take about ten thousand
DEFAULT = {"format": "pt"}
"""The entry that torch's loaders expect; some refuse a file without it."""


def bounded(metadata: Mapping[str, str] | None) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return a file's metadata and no notes, or, if it is above LARGEST, empty metadata and a note."""
    given = dict(metadata or {})
    size = sum(
        len(key.encode("utf-8", "replace")) + len(value.encode("utf-8", "replace")) for key, value in given.items()
    )
    if size > LARGEST:
        return {}, (f"its metadata is left out: {size} bytes, more than {LARGEST >> 20} MiB",)
    return given, ()


def given_back(meta: Mapping[str, Any]) -> dict[str, str]:
    """Return the metadata of a decoded .safetensors file: the texts that the container kept, and a `format`."""
    told = meta.get(META_KEY)
    kept = told.items() if isinstance(told, dict) else ()
    return DEFAULT | {key: value for key, value in kept if isinstance(value, str)}
