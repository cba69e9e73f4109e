"""Cluster many small tensors of the same size at once, with no more array operations than one tensor takes.

As for a single tensor, the start is the best partition into coarse cells, by dynamic programming (see kmeans.py). Then
the best cuts near these are searched in the same way, and Lloyd's steps refine them among the values.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qacomp.sharing.assignment import assign
from qacomp.sharing.block_kmeans import Places, Rows
from qacomp.sharing.kmeans import Clustering, inertia_of, kmeans
from qacomp.sharing.selection import Layer

MOST_VALUES, MOST_K = 1 << 10, 16
"""Larger tensors are clustered one by one, since the calls of array operations don't dominate there."""
_TOGETHER = 1 << 16  # values clustered at once, so few that temporary arrays stay in the cache
_AT_ONCE = 1 << 16  # entries of a table of costs
_CELLS, _ROWS, _AROUND, _REACHES = 160, 54, 8, (1, 1)
_AHEAD, _ALIKE = 256, 4  # tensors in a window, and how many of one size and K are needed to cluster them together
_STEPS, _EXCHANGES = 50, 16  # most steps of Lloyd's, and most exchanges


def clustered_ahead(layers: Sequence[Layer], dense: Callable[[str], NDArray[Any]]) -> Iterator[Clustering | None]:
    """Yield the clusters of each layer, in order, if it is small and others near it have its size and K, else None.

    dense: returns the values of a layer, given its name; at most _AHEAD small arrays are held in memory.
    """
    for start in range(0, len(layers), _AHEAD):
        alike: dict[tuple[int, int], dict[int, NDArray[Any]]] = {}
        window = layers[start : start + _AHEAD]
        for place, layer in enumerate(window):
            array = dense(layer.name)
            small = 4 * layer.k <= array.size <= MOST_VALUES and layer.k <= MOST_K
            if small and array.dtype == np.float32 and np.isfinite(array).all():
                alike.setdefault((array.size, layer.k), {})[place] = array
        found: dict[int, Clustering] = {}
        for (_, k), arrays in alike.items():
            if len(arrays) >= _ALIKE:
                found |= zip(arrays, kmeans_alike(list(arrays.values()), k), strict=True)
        yield from (found.get(place) for place in range(len(window)))


def kmeans_alike(arrays: Sequence[NDArray[np.floating]], k: int) -> list[Clustering]:
    """Cluster arrays of one dtype and size, of at most MOST_VALUES finite values each, as well as `kmeans` does.

    k: 2 .. MOST_K. The clusters may differ from those of `kmeans`; those of an array don't depend on other arrays.
    """
    found: list[Clustering] = []
    step = max(1, _TOGETHER // max(1, arrays[0].size))
    for start in range(0, len(arrays), step):
        found += _together(arrays[start : start + step], k)
    return found


def _together(arrays: Sequence[NDArray[np.floating]], k: int) -> list[Clustering]:
    rows = np.stack([array.reshape(-1) for array in arrays])
    ordered = np.sort(rows, axis=1)
    many = (ordered[:, 1:] != ordered[:, :-1]).sum(axis=1) >= 2 * k
    books = iter(_centroids(ordered[many], k).astype(rows.dtype) if many.any() else ())
    found = []
    for array, row, fits in zip(arrays, rows, many, strict=True):
        if not fits:  # few distinct values, which `kmeans` keeps exactly
            found.append(kmeans(array, k))
            continue
        book = next(books)
        if not (book[1:] > book[:-1]).all():
            book = np.unique(book)
        indices = assign(row, book)
        found.append(Clustering(book, indices.reshape(array.shape), inertia_of(row, book, indices)))
    return found


def _centroids(ordered: NDArray[np.floating], k: int) -> NDArray[np.float64]:
    """Return the centroids (G, k) of sorted rows (G, n), ascending."""
    rows = Rows(ordered)
    bounds = _coarse(rows, k)
    for reach in _REACHES:
        bounds = _sharpened(rows, bounds, reach)
    bounds = _exchanged(rows, rows.lloyd(rows.means(bounds), _STEPS))
    centroids: NDArray[np.float64] = rows.means(bounds) * rows.width + rows.low
    return centroids


def _exchanged(rows: Rows, bounds: Places) -> Places:
    """Return bounds (G, k+1) after exchanges (merge two clusters, split another) that lower the inertia of a row."""
    numbers = np.arange(rows.count)
    for _ in range(_EXCHANGES):
        low, high = bounds[:, :-1], bounds[:, 1:]
        cost = _cost(rows, low, high)  # (G, k)
        middle = np.clip(rows.places(rows.means(bounds)), low, high)
        gain = cost - _cost(rows, low, middle) - _cost(rows, middle, high)  # by splitting a cluster at its mean
        loss = _cost(rows, bounds[:, :-2], bounds[:, 2:]) - cost[:, :-1] - cost[:, 1:]  # by merging it with the next
        split = gain.argmax(axis=1)
        loss[numbers, np.maximum(split - 1, 0)] = np.inf
        loss[numbers, np.minimum(split, loss.shape[1] - 1)] = np.inf
        merge = loss.argmin(axis=1)
        changed = bounds.copy()
        changed[numbers, merge + 1] = middle[numbers, split]
        changed.sort(axis=1)
        improved = rows.lloyd(rows.means(changed), _STEPS)
        after = _cost(rows, improved[:, :-1], improved[:, 1:]).sum(axis=1)
        better = after < cost.sum(axis=1) * (1 - 1e-9)
        if not better.any():
            break
        bounds = np.where(better[:, None], improved, bounds)
    return bounds


def _cost(rows: Rows, low: Places, high: Places) -> NDArray[np.float64]:
    """Return the inertias (G, m) of the intervals [low, high); 0 for an empty interval."""
    total = np.take_along_axis(rows.sums, high, 1) - np.take_along_axis(rows.sums, low, 1)
    spread = np.take_along_axis(rows.squares, high, 1) - np.take_along_axis(rows.squares, low, 1)
    inertia: NDArray[np.float64] = np.maximum(spread - total * total / np.maximum(high - low, 1), 0.0)
    return inertia


def _coarse(rows: Rows, k: int) -> Places:
    """Return bounds (G, k+1) of each row's best partition between cells, half of equal mass, half of equal width."""
    half = _CELLS // 2
    mass = np.linspace(0, rows.length, half + 1).astype(np.int64)
    width = rows.places(np.broadcast_to(np.linspace(0, 0.5, half)[None], (rows.count, half)))
    ends = np.sort(np.concatenate([np.broadcast_to(mass, (rows.count, half + 1)), width], axis=1), axis=1)
    bounds = np.empty((rows.count, k + 1), np.int64)
    step = max(1, _AT_ONCE // ends.shape[1] ** 2)
    for start in range(0, rows.count, step):
        part = slice(start, start + step)
        bounds[part] = _partition(rows, part, ends[part], k)
    return bounds


def _partition(rows: Rows, part: slice, ends: Places, k: int) -> Places:
    """Return the best bounds (g, k+1) of the rows `part` among their `ends` (g, m), which may repeat."""
    first = np.take_along_axis(rows.sums[part], ends, axis=1)
    second = np.take_along_axis(rows.squares[part], ends, axis=1)
    blocks = []  # (g, rows of a block, ends before its last): inertias of the intervals (column, row]
    for start in range(0, ends.shape[1], _ROWS):
        rest, before = (slice(None), slice(start, start + _ROWS), None), (slice(None), None, slice(0, start + _ROWS))
        n = ends[rest] - ends[before]
        total = first[rest] - first[before]
        spread = second[rest] - second[before] - total * total / np.maximum(n, 1)
        blocks.append(np.where(n > 0, spread, np.inf).astype(np.float32))  # enough digits for a start
    best, cuts = np.concatenate([block[:, :, 0] for block in blocks], axis=1), []
    for _ in range(1, k):
        found, lowest = [], []
        for block in blocks:
            table = block + best[:, None, : block.shape[2]]
            found.append(table.argmin(axis=2))
            lowest.append(np.take_along_axis(table, found[-1][:, :, None], axis=2)[:, :, 0])
        best = np.concatenate(lowest, axis=1)
        cuts.append(np.concatenate(found, axis=1))
    numbers, place = np.arange(len(ends)), np.full(len(ends), ends.shape[1] - 1)
    bounds = np.zeros((len(ends), k + 1), np.int64)
    for cut in range(k, 0, -1):
        bounds[:, cut] = ends[numbers, place]
        if cut > 1:
            place = cuts[cut - 2][numbers, place]
    return bounds


def _sharpened(rows: Rows, bounds: Places, reach: int) -> Places:
    """Return the best bounds (G, k+1) with cuts near those of `bounds`, by dynamic programming.

    reach: distance between the places that are tried, in 512ths of a row (at least one value).
    """
    count, k = len(bounds), bounds.shape[1] - 1
    offsets = np.arange(-_AROUND, _AROUND + 1) * max(1, reach * rows.length // 512)
    result = bounds.copy()
    step = max(1, _AT_ONCE // (k * offsets.size**2))
    for start in range(0, count, step):
        part = slice(start, start + step)
        result[part] = _best_cuts(rows, part, np.clip(bounds[part, 1:-1, None] + offsets, 0, rows.length))
    return result


def _best_cuts(rows: Rows, part: slice, cuts: Places) -> Places:
    """Return the bounds (g, k+1) of least inertia, with one of the choices (g, k−1, choices) for each cut."""
    sums, squares = rows.sums[part], rows.squares[part]
    g = len(cuts)
    flat = cuts.reshape(g, -1)
    first = np.take_along_axis(sums, flat, axis=1).reshape(cuts.shape)
    second = np.take_along_axis(squares, flat, axis=1).reshape(cuts.shape)
    low, high = slice(0, -1), slice(1, None)
    n = cuts[:, high, None, :] - cuts[:, low, :, None]  # (g, k−2, choices, choices)
    total = first[:, high, None, :] - first[:, low, :, None]
    total *= total
    total /= np.maximum(n, 1)
    cost = second[:, high, None, :] - second[:, low, :, None]
    cost -= total
    cost[n <= 0] = np.inf
    sizes = cuts[:, 0]
    best = np.where(sizes > 0, second[:, 0] - first[:, 0] ** 2 / np.maximum(sizes, 1), np.inf)  # (g, choices)
    chosen = []
    for table in range(cuts.shape[1] - 1):
        growth = cost[:, table]
        growth += best[:, :, None]
        chosen.append(growth.argmin(axis=1))
        best = np.take_along_axis(growth, chosen[-1][:, None, :], axis=1)[:, 0]
    rest = rows.length - cuts[:, -1]
    tail = squares[:, -1:] - second[:, -1] - (sums[:, -1:] - first[:, -1]) ** 2 / np.maximum(rest, 1)
    place = np.where(rest > 0, best + tail, np.inf).argmin(axis=1)
    bounds = np.zeros((g, cuts.shape[1] + 2), np.int64)
    bounds[:, -1] = rows.length
    numbers = np.arange(g)
    for cut in range(cuts.shape[1] - 1, -1, -1):
        bounds[:, cut + 1] = cuts[numbers, cut, place]
        if cut:
            place = chosen[cut - 1][numbers, place]
    return bounds
