"""K-means of numbers on a line: sort once, then every Lloyd step is K binary searches and K differences of prefix sums.

The clusters of an optimal 1-D partition are intervals, so a partition is K − 1 cuts of the sorted values. How good the
local optimum is depends on the start: for few clusters the exact dynamic programme on a histogram (Wang & Song,
Ckmeans.1d.dp, 2011), for many the asymptotically optimal point density f^(1/3) (Panter & Dite, 1951). Then, as long as
it pays, the cheapest pair of neighbours is merged and the dearest cluster split.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qacomp.errors import ConfigError

_CELLS = 512
_QUANTILES = 4096
_DYNAMIC_MAX_K = 32
_MAX_STEPS = 500
_MAX_EXCHANGES = 64


@dataclass(frozen=True)
class Clustering:
    """`codebook` (K,) ascending, values' dtype; `indices` values' shape, uint8 | uint16; `inertia` Σ (v − c)²."""

    codebook: NDArray[np.floating]
    indices: NDArray[np.unsignedinteger]
    inertia: float


def kmeans(values: NDArray[np.floating], k: int) -> Clustering:
    """Cluster `values` (any shape, finite floats) into at most `k` (2 .. 65,536) clusters.

    Values with at most k distinct numbers are represented exactly, with as many clusters as there are numbers.
    Deterministic. Raises ConfigError for k out of range or values that are empty or not finite.
    """
    if not 2 <= k <= 65_536:
        raise ConfigError(f"K = {k}: the number of shared values must lie between 2 and 65,536")
    flat = np.ascontiguousarray(values).reshape(-1)
    if flat.size == 0 or not np.isfinite(flat).all():
        raise ConfigError("k-means needs at least one value, all of them finite")
    ordered = np.sort(flat)  # (N,)
    distinct = _few_distinct(ordered, k)
    if distinct is not None:
        codebook = distinct
    else:
        codebook = _cluster(ordered, _start(ordered, k), k).astype(flat.dtype)
        codebook = np.unique(codebook)
    indices = assign(flat, codebook)
    error = flat.astype(np.float64) - codebook.astype(np.float64)[indices]
    return Clustering(codebook, indices.reshape(np.shape(values)), float(error @ error))


def assign(values: NDArray[np.floating], codebook: NDArray[np.floating]) -> NDArray[np.unsignedinteger]:
    """Index of the nearest entry of `codebook` ((K,) ascending) for each value, as uint8 (K ≤ 256) or uint16."""
    middles = (codebook[1:].astype(np.float64) + codebook[:-1].astype(np.float64)) / 2  # (K − 1,)
    dtype = np.uint8 if codebook.size <= 256 else np.uint16
    indices: NDArray[np.unsignedinteger] = np.searchsorted(middles, values).astype(dtype)
    return indices


def _few_distinct(ordered: NDArray[np.floating], k: int) -> NDArray[np.floating] | None:
    """The distinct numbers of `ordered`, or None where there are more than k."""
    steps = np.flatnonzero(ordered[1:] != ordered[:-1])
    return None if steps.size + 1 > k else np.concatenate([ordered[:1], ordered[steps + 1]])


def _start(ordered: NDArray[np.floating], k: int) -> NDArray[np.float64]:
    """K starting centroids, ascending: (K,)."""
    if k <= _DYNAMIC_MAX_K:
        # Half of the cells of equal mass, half of equal width: fine in the bulk, and fine in the tails.
        quantiles = ordered[np.linspace(0, ordered.size - 1, _CELLS // 2).astype(np.int64)]
        edges = np.unique(np.concatenate([quantiles, np.linspace(ordered[0], ordered[-1], _CELLS // 2)]))
        return _optimal_centroids(ordered, edges[1:-1], k)
    # A quantile cell of mass 1/M and width d has density ∝ 1/d and so takes d·d^(−1/3) of the points.
    quantiles = ordered[np.linspace(0, ordered.size - 1, min(_QUANTILES, ordered.size)).astype(np.int64)]
    quantiles = quantiles.astype(np.float64)
    mass = np.concatenate([[0.0], np.cumsum(np.diff(quantiles) ** (2 / 3))])
    return np.unique(np.interp((np.arange(k) + 0.5) / k * mass[-1], mass, quantiles))


def _optimal_centroids(ordered: NDArray[np.floating], edges: NDArray[np.floating], k: int) -> NDArray[np.float64]:
    """Centroids of the optimal partition into at most k intervals that end at `edges`, by dynamic programming."""
    ends = np.unique(np.concatenate([[0], np.searchsorted(ordered, edges), [ordered.size]]))  # (m+1,)
    m = ends.size - 1
    moments = _Moments.of(ordered).at(ends)
    rows, columns = np.arange(m + 1)[:, None], np.arange(m + 1)[None, :]
    cost = np.where(rows > columns, moments.cost(columns, rows), np.inf)  # (m+1, m+1): of the interval (column, row]
    best = cost[:, 0].copy()  # one interval
    cuts = []
    for _ in range(1, min(k, m)):
        table = best[None, :] + cost  # (m+1, m+1)
        cut = np.argmin(table, axis=1)
        best = table[np.arange(m + 1), cut]
        cuts.append(cut)
    bounds = [m]
    for cut in reversed(cuts):
        bounds.append(int(cut[bounds[-1]]))
    chosen = np.unique([0, *bounds])
    return moments.mean(chosen[:-1], chosen[1:])


@dataclass(frozen=True)
class _Moments:
    """Prefix sums of v⁰, v¹ and v² over the sorted values, from which any interval's mean and inertia follow."""

    counts: NDArray[np.float64]
    sums: NDArray[np.float64]
    squares: NDArray[np.float64]

    @classmethod
    def of(cls, ordered: NDArray[np.floating]) -> "_Moments":
        values = ordered.astype(np.float64)
        values -= values.mean()  # inertia doesn't change, and squares keep their digits
        zero = np.zeros(1)
        squares = np.concatenate([zero, np.cumsum(values * values)])
        return cls(np.arange(values.size + 1.0), np.concatenate([zero, np.cumsum(ordered, dtype=np.float64)]), squares)

    def at(self, positions: NDArray[np.intp]) -> "_Moments":
        return _Moments(self.counts[positions], self.sums[positions], self.squares[positions])

    def mean(self, low: NDArray[np.intp], high: NDArray[np.intp]) -> NDArray[np.float64]:
        """Means of the intervals [low, high)."""
        means: NDArray[np.float64] = (self.sums[high] - self.sums[low]) / (self.counts[high] - self.counts[low])
        return means

    def cost(self, low: NDArray[np.intp], high: NDArray[np.intp]) -> NDArray[np.float64]:
        """Inertias of the intervals [low, high); 0 where an interval is empty."""
        offset = self.sums[-1] / self.counts[-1]  # of the centred squares
        n = self.counts[high] - self.counts[low]
        total = (self.sums[high] - self.sums[low]) - n * offset
        spread = (self.squares[high] - self.squares[low]) - total * total / np.maximum(n, 1)
        inertia: NDArray[np.float64] = np.maximum(spread, 0.0)
        return inertia


def _cluster(ordered: NDArray[np.floating], centroids: NDArray[np.float64], k: int) -> NDArray[np.float64]:
    """Lloyd from `centroids`, then exchanges (merge here, split there) as long as they lower the inertia."""
    moments = _Moments.of(ordered)
    bounds = _lloyd(ordered, moments, centroids)
    for _ in range(_MAX_EXCHANGES):
        low, high = bounds[:-1], bounds[1:]
        cost = moments.cost(low, high)  # (K,)
        middle = np.clip(np.searchsorted(ordered, moments.mean(low, high).astype(ordered.dtype)), low, high)
        gain = cost - moments.cost(low, middle) - moments.cost(middle, high)  # (K,) of splitting at the mean
        loss = moments.cost(bounds[:-2], bounds[2:]) - cost[:-1] - cost[1:]  # (K−1,) of merging with the next
        split = int(np.argmax(gain))
        if high.size < k and gain[split] > 0:
            changed = np.insert(bounds, split + 1, middle[split])
        else:
            loss[max(0, split - 1) : split + 1] = np.inf
            merge = int(np.argmin(loss)) if loss.size else 0
            if not loss.size or gain[split] <= loss[merge] * (1 + 1e-9):
                break
            changed = np.insert(np.delete(bounds, merge + 1), split + 1 - (merge < split), middle[split])
        changed = np.unique(changed)
        improved = _lloyd(ordered, moments, moments.mean(changed[:-1], changed[1:]))
        after, before = moments.cost(improved[:-1], improved[1:]).sum(), cost.sum()
        if not after < before * (1 - 1e-9):
            break
        bounds = improved
    return moments.mean(bounds[:-1], bounds[1:])


def _lloyd(ordered: NDArray[np.floating], moments: _Moments, centroids: NDArray[np.float64]) -> NDArray[np.intp]:
    """Lloyd's iteration to its fixed point: the bounds (K+1,) of the clusters; empty clusters are dropped."""
    previous = np.empty(0, np.intp)
    for _ in range(_MAX_STEPS):
        middles = ((centroids[1:] + centroids[:-1]) / 2).astype(ordered.dtype)
        bounds = np.concatenate([[0], np.searchsorted(ordered, middles, side="right"), [ordered.size]])
        bounds = np.unique(bounds)
        if np.array_equal(bounds, previous):
            break
        centroids = moments.mean(bounds[:-1], bounds[1:])
        previous = bounds
    return bounds
