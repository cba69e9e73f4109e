"""Keep sorted numbers with prefix sums, from which k-means gets the mean and inertia of any interval."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

_EDGE = 1 << 14  # number of single values at each end that aren't joined to runs


@dataclass(frozen=True)
class SortedPoints:
    """Sorted values, or runs of sorted values, with prefix sums.

    keys: (M,) ascending, the values or the means of the runs; counts, sums, squares: (M+1,), the prefix sums of v⁰, v
    and v², where v = value − offset, so that squares lose no digits.
    """

    keys: NDArray[np.float64]
    counts: NDArray[np.float64]
    sums: NDArray[np.float64]
    squares: NDArray[np.float64]
    offset: float

    @classmethod
    def of(cls, ordered: NDArray[np.floating], run: int) -> Self:
        """Return the points of sorted values (N,), joined to runs of `run` values except at both ends.

        Clusters at the ends are wide and hold few values, so these stay single.
        """
        offset, n = float(ordered.mean(dtype=np.float64)), ordered.size
        edge = _EDGE if run > 1 else 0
        pieces = [(0, edge, 1), (edge, n - edge, run), (n - edge, n, 1)]
        if run > 1:  # in pieces, to avoid a float64 copy of a large layer
            step = 4096 * run
            pieces[1:2] = [(a, min(a + step, n - edge), run) for a in range(edge, n - edge, step)]
        sums = np.zeros((3, 1 + sum(-(-(b - a) // r) for a, b, r in pieces)))
        end = 1
        for a, b, r in pieces:
            begin, end = end, end - (a - b) // r
            sums[:, begin:end] = _run_sums(ordered[a:b], r, offset)
        keys = sums[1, 1:] / sums[0, 1:]
        keys += offset
        counts, firsts, seconds = np.cumsum(sums, axis=1, out=sums)
        return cls(keys, counts, firsts, seconds, offset)

    @classmethod
    def weighted(cls, ordered: NDArray[np.floating], masses: NDArray[np.float64]) -> Self:
        """Return the points of sorted values (N,) with the weights `masses` (N,)."""
        keys = ordered.astype(np.float64)
        offset = float(masses @ keys / masses.sum())
        v = keys - offset
        sums = np.cumsum(np.stack([masses, masses * v, masses * v * v]), axis=1)
        counts, firsts, seconds = np.concatenate([np.zeros((3, 1)), sums], axis=1)
        return cls(keys, counts, firsts, seconds, offset)

    def quantiles(self, count: int) -> NDArray[np.float64]:
        """Return `count` keys at equal steps of mass, with the first and the last key."""
        mass = np.linspace(0, self.counts[-2], count)  # up to the mass before the last key
        return self.keys[np.searchsorted(self.counts, mass, side="right") - 1]

    def mean(self, low: NDArray[np.intp], high: NDArray[np.intp]) -> NDArray[np.float64]:
        """Return the means of the intervals [low, high)."""
        means: NDArray[np.float64] = (self.sums[high] - self.sums[low]) / (self.counts[high] - self.counts[low])
        return means + self.offset

    def mean_of(self, bounds: NDArray[np.intp]) -> NDArray[np.float64]:
        """Return the means of the intervals between neighbouring bounds (K+1,): (K,)."""
        return self.mean(bounds[:-1], bounds[1:])

    def cost(self, low: NDArray[np.intp], high: NDArray[np.intp]) -> NDArray[np.float64]:
        """Return the inertias of the intervals [low, high); 0 for an empty interval."""
        n, total = self.counts[high] - self.counts[low], self.sums[high] - self.sums[low]
        spread = (self.squares[high] - self.squares[low]) - total * total / np.where(n > 0, n, 1)
        inertia: NDArray[np.float64] = np.maximum(spread, 0.0)
        return inertia


def _run_sums(values: NDArray[np.floating], run: int, offset: float) -> NDArray[np.float64]:
    """Return the sums (3, runs) of v⁰, v and v² over each run, v = value − offset; the last run may be shorter."""
    v = values.astype(np.float64) - offset
    counts = np.full(-(-v.size // run), float(run))
    if v.size % run:
        counts[-1] = v.size % run
        v = np.append(v, np.zeros(run - v.size % run))
    v = v.reshape(-1, run)
    return np.stack([counts, v.sum(axis=1), np.einsum("ij,ij->i", v, v)])
