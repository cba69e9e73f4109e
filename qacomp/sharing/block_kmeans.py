"""Cluster very many small groups of numbers at once: each group is a sorted row, and a Lloyd step serves all rows.

In a sorted row clusters are intervals. All rows are scaled and shifted onto one line, row g to [g, g + 1/2], so that
one binary search finds the cuts of all rows; prefix sums give means and inertias. The start comes from merging the
cheapest pair of neighbours again and again, so that few Lloyd steps are needed.
"""

import numpy as np
from numpy.typing import NDArray

_SLAB = 1 << 16  # values clustered at once, so few that temporary arrays stay in the cache
_STEPS = 8  # most Lloyd steps
_APART = 1e-9  # midpoints closer than this part of a row's span are found in the row itself
_CELLS = 256  # least number of cells with which merging starts; twice the number of clusters if that is more

Floats = NDArray[np.float64]
Places = NDArray[np.int64]


def cluster_rows(rows: NDArray[np.floating], k: int) -> tuple[NDArray[np.floating], NDArray[np.unsignedinteger]]:
    """Cluster each row of finite `rows` (G, n) into at most k (2 .. 65,536) clusters.

    Returns codebooks (G, k) in the rows' dtype, ascending, and the index (G, n) of the nearest entry. If a row has
    fewer clusters, the last entry of its codebook is repeated. A row of at most k distinct values is represented
    exactly, and so are the zeros of any row. The result is deterministic.
    """
    codebooks = np.empty((len(rows), k), rows.dtype)
    indices = np.empty(rows.shape, np.uint8 if k <= 256 else np.uint16)
    step = max(1, _SLAB // max(rows.shape[1], k))
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        codebooks[part] = _codebooks(np.sort(rows[part], axis=1), k)
        lacking = (rows[part] == 0).any(axis=1) & ~(codebooks[part] == 0).any(axis=1)
        if lacking.any():
            codebooks[part][lacking] = _with_zeros(rows[part][lacking], codebooks[part][lacking])
        indices[part] = _nearest(rows[part], codebooks[part])
    return codebooks, indices


def _with_zeros(rows: NDArray[np.floating], books: NDArray[np.floating]) -> NDArray[np.floating]:
    """Set the entry nearest to zero of each codebook (G, k) to zero, and refine the others by Lloyd's steps."""
    count, k = books.shape
    numbers = np.arange(count)
    zero = np.abs(books).argmin(axis=1)
    books[numbers, zero] = 0
    for _ in range(_STEPS):
        flat = (_nearest(rows, books) + numbers[:, None] * k).reshape(-1)
        sizes = np.bincount(flat, minlength=count * k)
        total = np.bincount(flat, rows.reshape(-1), minlength=count * k)
        means = np.where(sizes > 0, total / np.maximum(sizes, 1), books.reshape(-1)).reshape(count, k)
        means[numbers, zero] = 0
        books = np.sort(means.astype(books.dtype), axis=1)
        zero = (books == 0).argmax(axis=1)
    return books


def _codebooks(ordered: NDArray[np.floating], k: int) -> NDArray[np.floating]:
    """Return the ascending centroids (G, k) of ascending rows (G, n)."""
    steps = np.zeros(ordered.shape, np.int64)
    np.cumsum(ordered[:, 1:] != ordered[:, :-1], axis=1, out=steps[:, 1:])  # rank among the distinct values
    few = steps[:, -1] < k
    books = np.empty((len(ordered), k), ordered.dtype)
    if few.any():
        exact = np.repeat(ordered[few, -1:], k, axis=1)
        np.put_along_axis(exact, steps[few], ordered[few], axis=1)
        books[few] = exact
    if not few.all():
        books[~few] = np.sort(Rows(ordered[~few]).centroids(k).astype(ordered.dtype), axis=1)
    return books


class Rows:
    """Sorted rows (G, n), each shifted and scaled into [0, 1/2], with prefix sums."""

    def __init__(self, ordered: NDArray[np.floating]) -> None:
        values = ordered.astype(np.float64)
        self.low = values[:, :1]
        self.width = 2 * (values[:, -1:] - self.low)
        self.values = (values - self.low) / self.width  # (G, n)
        self.count, self.length = values.shape
        self.base = np.arange(self.count)[:, None]
        self.line = (self.values + self.base).reshape(-1)  # ascending
        zero = np.zeros((self.count, 1))
        self.sums = np.concatenate([zero, np.cumsum(self.values, axis=1)], axis=1)  # (G, n+1)
        self.squares = np.concatenate([zero, np.cumsum(self.values**2, axis=1)], axis=1)

    def centroids(self, k: int) -> Floats:
        """Return the centroids (G, k) of the rows in the units of the input."""
        bounds = self.lloyd(self.means(self.merged(k)), _STEPS)
        means: Floats = self.means(bounds) * self.width + self.low
        return means

    def merged(self, k: int) -> Places:
        """Merge neighbouring cells, the cheapest pair first (Ward, 1963), down to k, and return the bounds (G, k+1)."""
        cells = min(self.length, max(_CELLS, 2 * k))
        tail = cells // 4 if cells < self.length else 0  # single values as cells at both ends, where clusters are wide
        inner = np.linspace(tail, self.length - tail, cells - 2 * tail + 1).astype(np.int64)
        edges = np.concatenate([np.arange(tail), inner, self.length - tail + 1 + np.arange(tail)])
        sums = np.ascontiguousarray(self.sums[:, edges]).reshape(-1)  # (G · (cells + 1),)
        places = np.tile(edges.astype(np.float64), self.count)
        numbers = np.arange(self.count * (cells + 1)).reshape(self.count, -1)
        before, after = (numbers - 1).reshape(-1), (numbers + 1).reshape(-1)  # neighbours of each bound that is left
        cost = np.full(numbers.shape, np.inf)  # of removing a bound; infinite for the outer two and for removed ones
        flat = cost.reshape(-1)

        def price(bound: Places) -> Floats:
            """Return the cost of removing a bound: the growth of inertia when its two clusters become one."""
            low, high = before.take(bound), after.take(bound)
            here, total = places.take(bound), sums.take(bound)
            n, m = here - places.take(low), places.take(high) - here
            apart = (total - sums.take(low)) / n - (sums.take(high) - total) / m
            growth: Floats = n * m / (n + m) * apart * apart
            return growth

        cost[:, 1:-1] = price(numbers[:, 1:-1])
        for _ in range(cells - k):
            bound = numbers[:, 0] + cost.argmin(axis=1)
            low, high = before.take(bound), after.take(bound)
            flat[bound] = np.inf
            after[low], before[high] = high, low
            for neighbour, outermost in ((low, numbers[:, 0]), (high, numbers[:, -1])):
                inner = neighbour[neighbour != outermost]
                flat[inner] = price(inner)
        left = np.isfinite(cost)
        left[:, 0] = left[:, -1] = True
        bounds: Places = edges[np.nonzero(left)[1].reshape(self.count, k + 1)]
        return bounds

    def places(self, values: Floats) -> Places:
        """Return for each of `values` (G, m) how many values of its row are at or below it: (G, m)."""
        found = np.searchsorted(self.line, (np.clip(values, 0, 0.75) + self.base).reshape(-1), side="right")
        places: Places = found.reshape(values.shape) - self.base * self.length
        return places

    def lloyd(self, centroids: Floats, steps: int) -> Places:
        """Return the bounds (G, k+1) of the clusters after at most `steps` Lloyd steps; clusters may be empty."""
        previous = None
        for _ in range(steps):
            inner = self.places((centroids[:, 1:] + centroids[:, :-1]) / 2)
            ends = np.zeros((self.count, 1), np.int64)
            bounds = np.concatenate([ends, inner, ends + self.length], axis=1)
            if previous is not None and np.array_equal(previous, bounds):
                break
            previous = bounds
            centroids = self.means(bounds)
        return bounds

    def means(self, bounds: Places) -> Floats:
        """Return the ascending means (G, k) of the clusters; an empty cluster gets the value at its place."""
        count = np.diff(bounds, axis=1)
        total = np.diff(np.take_along_axis(self.sums, bounds, axis=1), axis=1)
        empty = np.take_along_axis(self.values, np.minimum(bounds[:, :-1], self.length - 1), axis=1)
        means: Floats = np.where(count > 0, total / np.maximum(count, 1), empty)
        return means


def _nearest(rows: NDArray[np.floating], books: NDArray[np.floating]) -> NDArray[np.intp]:
    """Return for each value (G, n) the index of the nearest entry in its row's ascending codebook (G, k)."""
    low, high = books[:, :1].astype(np.float64), books[:, -1:].astype(np.float64)
    width = np.where(high > low, 2 * (high - low), 1.0)
    base = np.arange(len(rows))[:, None]
    middles = (books[:, 1:].astype(np.float64) + books[:, :-1]) / 2  # (G, k−1)
    scaled = (middles - low) / width  # within [0, 1/2]
    found = np.searchsorted((scaled + base).reshape(-1), (np.clip((rows - low) / width, 0, 0.75) + base).reshape(-1))
    places: NDArray[np.intp] = found.reshape(rows.shape) - base * middles.shape[1]
    lost = (np.diff(scaled, axis=1) < _APART) & (np.diff(middles, axis=1) > 0)  # too close to tell apart on the line
    for row in np.flatnonzero(lost.any(axis=1)):
        places[row] = np.searchsorted(middles[row], rows[row])
    return places
