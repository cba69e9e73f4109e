"""The metadata of .safetensors files: text by name, kept in the container and given back. Needs no torch."""

from collections.abc import Mapping
from typing import Any

META_KEY = "safetensors"
LARGEST = 1 << 20  # bytes; training scripts keep their settings there, some ten thousand
DEFAULT = {"format": "pt"}
"""What loaders of torch's ask for: some refuse a file without it."""


def bounded(metadata: Mapping[str, str] | None) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return a file's metadata as far as it is kept, and a remark where it isn't."""
    given = dict(metadata or {})
    size = sum(
        len(key.encode("utf-8", "replace")) + len(value.encode("utf-8", "replace")) for key, value in given.items()
    )
    if size > LARGEST:
        return {}, (f"left out: its metadata of {size} bytes, more than {LARGEST >> 20} MiB",)
    return given, ()


def given_back(meta: Mapping[str, Any]) -> dict[str, str]:
    """Return a decoded file's metadata from a container's: text alone, with `format` where nothing says another."""
    told = meta.get(META_KEY)
    kept = told.items() if isinstance(told, dict) else ()
    return DEFAULT | {key: value for key, value in kept if isinstance(value, str)}
