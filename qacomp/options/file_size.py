"""Read the size of a file in the user's words: 100000, 100KB, 12x smaller than fp32, or 1.5 bits per weight."""

import math
import re

from qacomp.errors import ConfigError

_UNITS = {"": 1, "b": 1, "kb": 1000, "mb": 1000**2, "gb": 1000**3, "kib": 1024, "mib": 1024**2, "gib": 1024**3}
_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,9})?)\s*([A-Za-z]*)", re.ASCII)
_FORMS = "100000, 100KB, 1.5MB, 12x (smaller than fp32) or 1.5bpw (bits per weight)"


def check_file_size(text: str) -> None:
    """Raise ConfigError unless the text is a size; see `file_size`."""
    file_size(text, 1 << 40)


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
