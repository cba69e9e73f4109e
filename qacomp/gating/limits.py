"""The limits that a container is held against."""

import math
import re
from dataclasses import dataclass, fields
from typing import Self

from qacomp.errors import ConfigError
from qacomp.evaluation.verdict import DOUBTFUL, GOOD
from qacomp.options.file_size import check_file_size, file_size

VERDICTS = (DOUBTFUL, GOOD)
"""The verdicts that can be asked for, the worse one first."""
_PERCENT = re.compile(r"(\d{1,6}(?:\.\d{1,6})?)\s*%", re.ASCII)
_NUMBERS = ("max_drop", "max_change")
_AGAINST = ("max_growth", "max_change")  # work beside a last release alone


@dataclass(frozen=True, kw_only=True)
class GateLimits:
    """What a container may be. None: no limit.

    max_bytes: of the whole file: 100000, 100KB, or 12x, 1.5bpw of its own floating-point values; max_drop: of the
    metric, accuracy in points, against the original and against the last release; min_verdict: good or doubtful.
    Against the last release: max_growth of the file's bytes, 5% or 10KB; max_change: of each tensor, the root mean
    square of the change divided by that of the last release's values.
    """

    max_bytes: str | int | None = None
    max_drop: float | None = None
    min_verdict: str | None = None
    max_growth: str | int | None = None
    max_change: float | None = None

    def checked(self, against: bool) -> Self:
        """Return these limits. Raise ConfigError for one that can't be; against: there is a last release."""
        if self.max_bytes is not None:
            check_file_size(str(self.max_bytes))
        if self.max_growth is not None:
            growth_bytes(str(self.max_growth), 1)
        for found in fields(self):
            value = getattr(self, found.name)
            if isinstance(value, float | int) and found.name in _NUMBERS and not (math.isfinite(value) and value >= 0):
                raise ConfigError(f"--{found.name.replace('_', '-')} {value}: must not be negative, and finite")
        if self.min_verdict not in (None, *VERDICTS):
            raise ConfigError(f"--min-verdict {self.min_verdict!r}: must be one of {', '.join(VERDICTS)}")
        for name in _AGAINST:
            if getattr(self, name) is not None and not against:
                raise ConfigError(f"--{name.replace('_', '-')}: is against the last release; give --against LAST.qac")
        return self


def growth_bytes(text: str, before: int) -> int:
    """Return the bytes that a file may grow by; before: its bytes in the last release. Raise ConfigError."""
    found = _PERCENT.fullmatch(text.strip())
    if found:
        return int(float(found[1]) / 100 * before)
    if text.strip() == "0":
        return 0
    try:
        return file_size(text, 0)  # of a model without values: 12x and 1.5bpw are no sizes here
    except ConfigError:
        message = f"--max-growth {text[:40]!r}: give a share of the last release's bytes, 5%, or a size, 10KB"
        raise ConfigError(message) from None
