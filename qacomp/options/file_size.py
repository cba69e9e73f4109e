"""Read sizes of files in the user's words: 100000, 100KB, 12x smaller than fp32, or 1.5 bits per weight."""

import math
import re
from itertools import pairwise

from qacomp.errors import ConfigError

_UNITS = {"": 1, "b": 1, "kb": 1000, "mb": 1000**2, "gb": 1000**3, "kib": 1024, "mib": 1024**2, "gib": 1024**3}
_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,9})?)\s*([A-Za-z]*)", re.ASCII)
_FORMS = "100000, 100KB, 1.5MB, 12x (smaller than fp32) or 1.5bpw (bits per weight)"


_MOST_SIZES = 16  # levels of a container


def check_file_size(text: str) -> None:
    """Raise ConfigError unless the text is a size; see `file_size`."""
    file_size(text, 1 << 40)


def check_file_sizes(text: str) -> None:
    """Raise ConfigError unless the text is a size, or several separated by commas; see `file_sizes`."""
    for part in sizes_of(text):
        check_file_size(part)


def sizes_of(text: str) -> list[str]:
    """Return the single sizes of a text such as 50KB,100KB. Raises ConfigError for more than a container has levels."""
    parts = text.split(",")
    if len(parts) > _MOST_SIZES:
        raise ConfigError(f"--target-size: gives {len(parts)} sizes; give at most {_MOST_SIZES}")
    return parts


def file_sizes(text: str, fp32_bytes: int) -> list[int]:
    """Return the bytes of each size of a text; see `file_size`. Raises ConfigError unless they ascend."""
    sizes = [file_size(part, fp32_bytes) for part in sizes_of(text)]
    if not all(a < b for a, b in pairwise(sizes)):
        told = ", ".join(f"{size:,}" for size in sizes)
        raise ConfigError(f"--target-size {text[:80]}: these are {told} bytes; give the smaller size first: 50KB,100KB")
    return sizes


def file_size(text: str, fp32_bytes: int) -> int:
    """Return the bytes that a text means. fp32_bytes: bytes of the model's floating-point values in fp32.

    KB is 1,000 bytes, KiB 1,024. Raises ConfigError for text that isn't a size, and for less than one byte.
    """
    found = _SIZE.fullmatch(text.strip())
    number, unit = (float(found[1]), found[2].lower()) if found else (0.0, "?")
    if unit == "x" and number > 0:
        size = fp32_bytes / number
    elif unit == "bpw":
        size = fp32_bytes / 4 * number / 8
    elif unit in _UNITS:
        size = number * _UNITS[unit]
    else:
        raise ConfigError(f"{text[:40]!r} isn't a file size; give {_FORMS}")
    if not math.isfinite(size) or size < 1:
        raise ConfigError(f"{text[:40]!r} is less than one byte or too large; give {_FORMS}")
    return int(size)
