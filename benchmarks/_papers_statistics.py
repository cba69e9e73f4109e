"""Paired differences over seeds, their means with 95 % bootstrap intervals, and what follows for a claim."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 10_000
LEAST_SEEDS = 5
"""With fewer seeds an interval by bootstrap is too narrow to decide anything."""
NARROW = 0.3
"""Points: an interval within ± so much of its mean shows that there's no effect worth having, if it holds zero."""


@dataclass(frozen=True)
class Interval:
    """The mean of n values and the ends of its 95 % interval; the ends are None for a single value."""

    mean: float
    low: float | None
    high: float | None
    n: int

    @property
    def decided(self) -> bool:
        """Return whether there are enough seeds, and zero is outside or the interval is narrower than ± 0.3."""
        if self.low is None or self.high is None or self.n < LEAST_SEEDS:
            return False
        return self.low > 0 or self.high < 0 or self.high - self.low < 2 * NARROW

    @property
    def holds(self) -> bool:
        """Return whether the values are above zero, by the interval."""
        return self.decided and self.low is not None and self.low > 0

    @property
    def told(self) -> str:
        """Return `+0.12 [-0.30, +0.54]`."""
        if self.low is None or self.high is None:
            return f"{self.mean:+.2f}"
        return f"{self.mean:+.2f} [{self.low:+.2f}, {self.high:+.2f}]"


def bootstrap(values: Sequence[float], seed: int = 0) -> Interval:
    """Return the mean of one or more values with its 95 % percentile bootstrap interval: 10,000 resamples."""
    found = np.asarray(values, np.float64)  # (n,)
    if len(found) < 2:
        return Interval(float(found.mean()), None, None, len(found))
    chosen = np.random.default_rng(seed).integers(0, len(found), (RESAMPLES, len(found)))
    low, high = np.quantile(found[chosen].mean(axis=1), (0.025, 0.975))
    return Interval(float(found.mean()), float(low), float(high), len(found))
