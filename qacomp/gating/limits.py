"""Define and check the limits for a container."""

import math
import re
from dataclasses import dataclass, fields
from typing import Self

from qacomp.errors import ConfigError
from qacomp.evaluation.verdict import DOUBTFUL, GOOD
from qacomp.options.file_size import check_file_size, file_size

VERDICTS = (DOUBTFUL, GOOD)
"""The verdicts that can be a limit, the lower one first."""
_PERCENT = re.compile(r"(\d{1,6}(?:\.\d{1,6})?)\s*%", re.ASCII)
_NUMBERS = ("max_drop", "max_change")
_AGAINST = ("max_growth", "max_change")  # these need a last release


@dataclass(frozen=True, kw_only=True)
class GateLimits:
    """The limits for a container; None means no limit.

    max_bytes: largest size of the file: 100000 or 100KB, or relative to its floating-point values: 12x (times smaller
    than in fp32) or 1.5bpw (bits per weight); max_drop: largest drop of the metric (accuracy in points) from the
    original and from the last release; min_verdict: the lowest verdict that passes, good or doubtful.

    Compared with the last release: max_growth: largest growth of the file, 5% or 10KB; max_change: largest change of
    a tensor, its root mean square divided by that of the last release's values.
    """

    max_bytes: str | int | None = None
    max_drop: float | None = None
    min_verdict: str | None = None
    max_growth: str | int | None = None
    max_change: float | None = None

    def checked(self, against: bool) -> Self:
        """Return these limits. Raises ConfigError for an invalid one. against: whether there is a last release."""
        if self.max_bytes is not None:
            check_file_size(str(self.max_bytes))
        if self.max_growth is not None:
            growth_bytes(str(self.max_growth), 1)
        for found in fields(self):
            value = getattr(self, found.name)
            if isinstance(value, float | int) and found.name in _NUMBERS and not (math.isfinite(value) and value >= 0):
                raise ConfigError(f"--{found.name.replace('_', '-')} {value}: must be finite and not negative")
        if self.min_verdict not in (None, *VERDICTS):
            raise ConfigError(f"--min-verdict {self.min_verdict!r}: must be one of {', '.join(VERDICTS)}")
        for name in _AGAINST:
            if getattr(self, name) is not None and not against:
                raise ConfigError(f"--{name.replace('_', '-')}: needs the last release; give --against LAST.qac")
        return self


def growth_bytes(text: str, before: int) -> int:
    """Return the growth in bytes that a limit allows; before: bytes of the last release. Raises ConfigError."""
    found = _PERCENT.fullmatch(text.strip())
    if found:
        return int(float(found[1]) / 100 * before)
    if text.strip() == "0":
        return 0
    try:
        return file_size(text, 0)  # no values (0), so that 12x and 1.5bpw are refused
    except ConfigError:
        message = f"--max-growth {text[:40]!r}: give a percentage of the last release's bytes (5%) or a size (10KB)"
        raise ConfigError(message) from None
