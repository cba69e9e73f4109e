"""Cluster numbers by k-means: after one sort, a Lloyd step is K binary searches and K differences of prefix sums.

The clusters of an optimal partition of numbers are intervals, so a partition is K − 1 cuts of the sorted values. The
quality of the local optimum depends on the start. For few clusters that is exact dynamic programming on a histogram
(Wang & Song, Ckmeans.1d.dp, 2011), for many the asymptotically optimal point density f^(1/3) (Panter & Dite, 1951).
Then the cheapest pair of neighbours is merged and the most expensive cluster is split, as long as that lowers the
inertia. A large layer is clustered by runs of neighbouring sorted values first; then its cuts are refined among the
values.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qacomp.errors import ConfigError
from qacomp.sharing.assignment import assign
from qacomp.sharing.sorted_points import SortedPoints

__all__ = ["Clustering", "assign", "kmeans"]

_CELLS = 512
_SMALL, _COARSE_CELLS, _AROUND, _SHARPENINGS = 1 << 13, 128, 8, 2
"""Up to _SMALL values, dynamic programming runs on coarse cells first and then on fine cells around the cuts."""
_ROWS = 64  # rows of the dynamic programming that are computed at once
_QUANTILES = 4096
_DYNAMIC_MAX_K = 32
_MAX_STEPS = 500
_MAX_FINE_STEPS = 100
_MAX_EXCHANGES = 64
_MAX_REFILLS = 16
_RUN = 16
_RUNS_FROM = 1 << 17
_INERTIA_BLOCK = 1 << 15


@dataclass(frozen=True)
class Clustering:
    """Clusters of values. codebook: (K,) ascending, in the values' dtype; inertia: Σ (v − c)².

    indices: uint8 or uint16, in the values' shape.
    """

    codebook: NDArray[np.floating]
    indices: NDArray[np.unsignedinteger]
    inertia: float


def kmeans(values: NDArray[np.floating], k: int, weights: NDArray[np.floating] | None = None) -> Clustering:
    """Cluster `values` (any shape, finite floats) into at most `k` (2 .. 65,536) clusters.

    Values with at most k distinct numbers are represented exactly, with one cluster for each. weights: positive, in the
    values' shape, the weight of each squared error; None: equal weights. The returned inertia is unweighted. The result
    is deterministic. Raises ConfigError for k out of range, for values that are empty or not finite, and for weights
    that aren't positive and finite.
    """
    if not 2 <= k <= 65_536:
        raise ConfigError(f"K = {k}: the number of shared values must lie between 2 and 65,536")
    flat = np.ascontiguousarray(values).reshape(-1)
    ordered, masses = np.sort(flat), None  # (N,); −inf is sorted first, inf and NaN last
    if flat.size == 0 or not np.isfinite(ordered[[0, -1]]).all():
        raise ConfigError("k-means needs at least one value, all of them finite")
    distinct = _few_distinct(ordered, k)
    if weights is not None and distinct is None:
        masses = _masses(flat, weights)
    codebook = distinct if distinct is not None else np.unique(_centroids(ordered, k, masses).astype(flat.dtype))
    indices = assign(flat, codebook)
    return Clustering(codebook, indices.reshape(np.shape(values)), inertia_of(flat, codebook, indices))


def _masses(flat: NDArray[np.floating], weights: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the weights (N,) in the order of the sorted values, scaled to a mean of 1."""
    mass = np.ascontiguousarray(weights, np.float64).reshape(-1)
    if mass.shape != flat.shape or not (np.isfinite(mass) & (mass > 0)).all():
        raise ConfigError("k-means needs one weight for each value, all of them positive and finite")
    ordered: NDArray[np.float64] = mass[np.argsort(flat, kind="stable")] / mass.mean()
    return ordered


def inertia_of(
    flat: NDArray[np.floating], codebook: NDArray[np.floating], indices: NDArray[np.unsignedinteger]
) -> float:
    """Return Σ (v − c)² of flat values, block by block; 0 only if every value is an entry."""
    entries, total = codebook.astype(np.float64), 0.0
    for start in range(0, flat.size, _INERTIA_BLOCK):
        block = slice(start, start + _INERTIA_BLOCK)
        error = flat[block] - entries.take(indices[block])
        total += float(error @ error)
    return total


def _few_distinct(ordered: NDArray[np.floating], k: int) -> NDArray[np.floating] | None:
    """Return the distinct numbers of `ordered`, or None if there are more than k."""
    sample = ordered[:: max(1, ordered.size // (4 * k))]
    if np.count_nonzero(sample[1:] != sample[:-1]) >= k:
        return None
    steps = np.flatnonzero(ordered[1:] != ordered[:-1])
    return None if steps.size + 1 > k else np.concatenate([ordered[:1], ordered[steps + 1]])


def _centroids(ordered: NDArray[np.floating], k: int, masses: NDArray[np.float64] | None) -> NDArray[np.float64]:
    """Return at most k ascending centroids of a good local optimum."""
    if masses is not None or ordered.size < max(_RUNS_FROM, 16 * k * _RUN):
        points = SortedPoints.of(ordered, 1) if masses is None else SortedPoints.weighted(ordered, masses)
        return points.mean_of(_cluster(points, _start(points, k), k))
    runs = SortedPoints.of(ordered, _RUN)
    return _settled(ordered, runs, _cluster(runs, _start(runs, k), k))


def _start(points: "SortedPoints", k: int) -> NDArray[np.float64]:
    """Return the ascending centroids (K,) with which Lloyd's steps start."""
    if k <= _DYNAMIC_MAX_K:
        # Half of the cells have equal mass and half equal width, so they are fine in the bulk and in the tails.
        ends = _ends(points, _CELLS)
        if points.keys.size > _SMALL or ends.size <= _COARSE_CELLS:
            return points.mean_of(_optimal_bounds(points, ends, k))
        bounds = _optimal_bounds(points, _ends(points, max(_COARSE_CELLS, 12 * k)), k)
        for _ in range(_SHARPENINGS):
            bounds = _sharpened(points, ends, bounds)
        return points.mean_of(bounds)
    # A quantile cell of mass 1/M and width d has a density ∝ 1/d, so it gets a number of centroids ∝ d·d^(−1/3).
    quantiles = points.quantiles(min(_QUANTILES, points.keys.size))
    mass = np.concatenate([[0.0], np.cumsum(np.diff(quantiles) ** (2 / 3))])
    return np.unique(np.interp((np.arange(k) + 0.5) / k * mass[-1], mass, quantiles))


def _ends(points: "SortedPoints", cells: int) -> NDArray[np.intp]:
    """Return the ends of at most `cells` cells, ascending, from 0 to the number of points."""
    edges = np.linspace(points.keys[0], points.keys[-1], cells // 2)
    edges = np.concatenate([points.quantiles(cells // 2), edges])
    inner = np.searchsorted(points.keys, edges)
    return np.unique(np.concatenate([[0], inner, [points.keys.size]]))


def _sharpened(points: "SortedPoints", ends: NDArray[np.intp], bounds: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return the best bounds with cuts among the `ends` near those of `bounds`, by dynamic programming."""
    near = np.searchsorted(ends, bounds[1:-1])[:, None] + np.arange(-_AROUND, _AROUND + 1)  # (K−1, around)
    if not near.size:
        return bounds
    cuts = ends[np.clip(near, 0, ends.size - 1)]
    low, high = cuts[:-1, :, None], cuts[1:, None, :]
    cost = np.where(high > low, points.cost(low, np.maximum(high, low)), np.inf)  # (K−2, around, around)
    best = np.where(cuts[0] > 0, points.cost(np.zeros_like(cuts[0]), cuts[0]), np.inf)
    found = []
    for table in cost:
        table += best[:, None]
        found.append(table.argmin(axis=0))
        best = table.min(axis=0)
    last = np.where(cuts[-1] < ends[-1], points.cost(cuts[-1], np.full_like(cuts[-1], ends[-1])), np.inf)
    place = int(np.argmin(best + last))
    if not np.isfinite(best + last)[place]:
        return bounds
    sharp = [int(ends[-1])]
    for row, choice in zip(reversed(cuts), [*reversed(found), None], strict=True):
        sharp.append(int(row[place]))
        place = place if choice is None else int(choice[place])
    return np.array([0, *reversed(sharp)], np.intp)


def _optimal_bounds(points: "SortedPoints", ends: NDArray[np.intp], k: int) -> NDArray[np.intp]:
    """Return the bounds of the best partition into at most k intervals, with cuts in `ends` (m + 1,)."""
    m = ends.size - 1
    blocks = [(first, min(first + _ROWS, m + 1)) for first in range(0, m + 1, _ROWS)]
    costs = [_costs(points, ends, first, last) for first, last in blocks]  # (rows, last): inertias of (column, row]
    best = np.concatenate([block[:, 0] for block in costs])  # one interval
    cuts, cut = [], np.zeros(m + 1, np.intp)
    for _ in range(1, min(k, m)):
        parts, lowest = [], []
        for (first, last), block in zip(blocks, costs, strict=True):
            start = int(cut[first])  # the last cut never moves down if the row or the number of intervals grows
            table = block[:, start:] + best[None, start:last]
            part = table.argmin(axis=1)
            lowest.append(table[np.arange(last - first), part])
            parts.append(part + start)
        cut, best = np.concatenate(parts), np.concatenate(lowest)
        cuts.append(cut)
    bounds = [m]
    for cut in reversed(cuts):
        bounds.append(int(cut[bounds[-1]]))
    optimal: NDArray[np.intp] = ends[np.unique([0, *bounds])]
    return optimal


def _costs(points: "SortedPoints", ends: NDArray[np.intp], first: int, last: int) -> NDArray[np.float64]:
    """Return the inertias (last − first, last) of intervals from each end before `last` to each in [first, last)."""
    rows, columns = np.arange(first, last)[:, None], np.arange(last)[None, :]
    return np.where(rows > columns, points.cost(ends[columns], ends[rows]), np.inf)


def _cluster(points: SortedPoints, centroids: NDArray[np.float64], k: int) -> NDArray[np.intp]:
    """Return the bounds after Lloyd's steps from `centroids` and exchanges (merge, split) that lower the inertia."""
    bounds = _refilled(points, _lloyd(points, centroids), k)
    for _ in range(_MAX_EXCHANGES):
        low, high = bounds[:-1], bounds[1:]
        cost = points.cost(low, high)  # (K,)
        middle = np.clip(np.searchsorted(points.keys, points.mean(low, high)), low, high)
        gain = cost - points.cost(low, middle) - points.cost(middle, high)  # (K,) by splitting a cluster at its mean
        loss = points.cost(bounds[:-2], bounds[2:]) - cost[:-1] - cost[1:]  # (K−1,) by merging it with the next
        split = int(np.argmax(gain))
        if high.size < k and gain[split] > 0:
            changed = np.insert(bounds, split + 1, middle[split])
        else:
            loss[max(0, split - 1) : split + 1] = np.inf
            merge = int(np.argmin(loss)) if loss.size else 0
            if not loss.size or gain[split] <= loss[merge] * (1 + 1e-9):
                break
            changed = np.insert(np.delete(bounds, merge + 1), split + 1 - (merge < split), middle[split])
        improved = _lloyd(points, points.mean_of(np.unique(changed)))
        after, before = points.cost(improved[:-1], improved[1:]).sum(), cost.sum()
        if not after < before * (1 - 1e-9):
            break
        bounds = improved
    return bounds


def _refilled(points: SortedPoints, bounds: NDArray[np.intp], k: int) -> NDArray[np.intp]:
    """Split the most expensive clusters, many at a time, if heavy tails have left far fewer than k clusters."""
    for _ in range(_MAX_REFILLS):
        missing = k - 16 - (bounds.size - 1)
        if missing <= 0:
            break
        low, high = bounds[:-1], bounds[1:]
        middle = np.clip(np.searchsorted(points.keys, points.mean(low, high)), low, high)
        gain = points.cost(low, high) - points.cost(low, middle) - points.cost(middle, high)  # (K',)
        dearest = np.argsort(-gain, kind="stable")[:missing]
        cuts = middle[dearest[gain[dearest] > 0]]
        refilled = np.unique(np.concatenate([bounds, cuts]))
        if refilled.size == bounds.size:
            break
        bounds = _lloyd(points, points.mean_of(refilled))
    return bounds


def _lloyd(points: SortedPoints, centroids: NDArray[np.float64]) -> NDArray[np.intp]:
    """Iterate Lloyd's steps to their fixed point, and return the bounds (K+1,); empty clusters are dropped."""
    previous = np.empty(0, np.intp)
    for _ in range(_MAX_STEPS):
        cuts = np.searchsorted(points.keys, (centroids[1:] + centroids[:-1]) / 2, side="right")
        bounds = _distinct(np.concatenate([[0], cuts, [points.keys.size]]))
        if np.array_equal(bounds, previous):
            break
        centroids = points.mean_of(bounds)
        previous = bounds
    return bounds


def _distinct(ascending: NDArray[np.intp]) -> NDArray[np.intp]:
    keep = np.append(True, ascending[1:] > ascending[:-1])
    return ascending if keep.all() else ascending[keep]


def _settled(ordered: NDArray[np.floating], runs: SortedPoints, bounds: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return the centroids after Lloyd steps among the single values, which start from bounds (K+1,) between runs."""
    centroids, previous = runs.mean_of(bounds), np.empty(0, np.intp)
    starts = runs.counts.astype(np.intp)  # (M+1,)
    for _ in range(_MAX_FINE_STEPS):
        middles = ((centroids[1:] + centroids[:-1]) / 2).astype(ordered.dtype)
        cuts = _distinct(np.concatenate([[0], np.searchsorted(ordered, middles, side="right"), [ordered.size]]))
        if np.array_equal(cuts, previous):
            break
        run = np.searchsorted(starts, cuts, side="right") - 1  # (K+1,): number of whole runs before each cut
        inside = starts[run, None] + np.arange(_RUN)  # (K+1, run): positions of the values in the run with the cut
        rest = ordered.take(inside, mode="clip") - np.float64(runs.offset)
        sums = runs.sums[run] + np.where(inside < cuts[:, None], rest, 0.0).sum(axis=1)  # (K+1,)
        centroids = np.diff(sums) / np.diff(cuts) + runs.offset
        previous = cuts
    return centroids
