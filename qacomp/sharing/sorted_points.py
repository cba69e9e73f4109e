"""Sorted numbers with prefix sums: the mean and the inertia of any interval by two look-ups, for k-means on a line."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

_EDGE = 1 << 14  # single values at each end of runs


@dataclass(frozen=True)
class SortedPoints:
    """Sorted values, or runs of them, with the prefix sums from which any interval's mean and inertia follow.

    `keys` (M,) ascending: the values, or the runs' means. `counts`, `sums`, `squares` (M+1,): of v⁰, v and v², where v
    is the distance from `offset`: inertia doesn't change, and squares keep their digits.
    """

    keys: NDArray[np.float64]
    counts: NDArray[np.float64]
    sums: NDArray[np.float64]
    squares: NDArray[np.float64]
    offset: float

    @classmethod
    def of(cls, ordered: NDArray[np.floating], run: int) -> Self:
        """Make runs of `run` values, but single values at both ends, where clusters are wide and hold few."""
        offset, n = float(ordered.mean(dtype=np.float64)), ordered.size
        edge = _EDGE if run > 1 else 0
        pieces = [(0, edge, 1), (edge, n - edge, run), (n - edge, n, 1)]
        if run > 1:  # of a large layer no copy in float64 is made
            step = 4096 * run
            pieces[1:2] = [(a, min(a + step, n - edge), run) for a in range(edge, n - edge, step)]
        sums = np.concatenate([[[0.0], [0.0], [0.0]], *(_run_sums(ordered[a:b], r, offset) for a, b, r in pieces)], 1)
        keys = sums[1, 1:] / sums[0, 1:] + offset
        counts, firsts, seconds = np.cumsum(sums, axis=1)
        return cls(keys, counts, firsts, seconds, offset)

    @classmethod
    def weighted(cls, ordered: NDArray[np.floating], masses: NDArray[np.float64]) -> Self:
        """Make points of single values, each of its own mass (N,)."""
        keys = ordered.astype(np.float64)
        offset = float(masses @ keys / masses.sum())
        v = keys - offset
        sums = np.cumsum(np.stack([masses, masses * v, masses * v * v]), axis=1)
        counts, firsts, seconds = np.concatenate([np.zeros((3, 1)), sums], axis=1)
        return cls(keys, counts, firsts, seconds, offset)

    def quantiles(self, count: int) -> NDArray[np.float64]:
        """Return `count` keys at equal steps of mass, the first and the last among them."""
        mass = np.linspace(0, self.counts[-2], count)  # the last key begins there
        return self.keys[np.searchsorted(self.counts, mass, side="right") - 1]

    def mean(self, low: NDArray[np.intp], high: NDArray[np.intp]) -> NDArray[np.float64]:
        """Return the means of the intervals [low, high)."""
        means: NDArray[np.float64] = (self.sums[high] - self.sums[low]) / (self.counts[high] - self.counts[low])
        return means + self.offset

    def mean_of(self, bounds: NDArray[np.intp]) -> NDArray[np.float64]:
        """Return the means of the intervals between neighbouring bounds (K+1,): (K,)."""
        return self.mean(bounds[:-1], bounds[1:])

    def cost(self, low: NDArray[np.intp], high: NDArray[np.intp]) -> NDArray[np.float64]:
        """Return the inertias of the intervals [low, high), apart from those inside runs; 0 for an empty interval."""
        n, total = self.counts[high] - self.counts[low], self.sums[high] - self.sums[low]
        spread = (self.squares[high] - self.squares[low]) - total * total / np.where(n > 0, n, 1)
        inertia: NDArray[np.float64] = np.maximum(spread, 0.0)
        return inertia


def _run_sums(values: NDArray[np.floating], run: int, offset: float) -> NDArray[np.float64]:
    """Return sums (3, runs) of v⁰, v and v² over each run of `values`, v = value − offset; the last run is shorter."""
    v = values.astype(np.float64) - offset
    counts = np.full(-(-v.size // run), float(run))
    if v.size % run:
        counts[-1] = v.size % run
        v = np.append(v, np.zeros(run - v.size % run))
    v = v.reshape(-1, run)
    return np.stack([counts, v.sum(axis=1), np.einsum("ij,ij->i", v, v)])
