"""Make nested codebooks: each cell of a coarse codebook is split into cells of the next finer one.

The boundaries of the coarsest level are the midpoints of its values. A finer level keeps these boundaries, and adds the
midpoints of its own values inside each cell. So the coarse index of a weight always follows from its fine index:
`index_coarse == parents[index_fine]`.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from qacomp.formats import Level, SharedTensor
from qacomp.sharing.kmeans import assign, kmeans
from qacomp.sharing.zero_entry import LEAST_K, has_zeros, with_zero_entry

_SETTLING_STEPS = 20
Floats = NDArray[np.floating]
Cells = NDArray[np.int64]


def nested_kmeans(weight: Floats, ks: Sequence[int]) -> SharedTensor:
    """Share a weight by k-means at several levels: the coarsest is plain k-means, and finer ones split its cells.

    Every shared value is the mean of its weights, except zero entries. Deterministic; raises as `kmeans` does.
    """
    books, parents = nested_codebooks(weight, ks)
    flat, zeros = weight.reshape(-1), has_zeros(weight)
    index = np.searchsorted(boundaries(books, parents)[-1], flat)
    made: list[Floats] = []
    tables: list[Cells] = []
    finest: Cells | None = None
    for level in range(len(books) - 1, -1, -1):  # drop empty cells
        used, index = np.unique(index, return_inverse=True)
        index = index.reshape(-1)
        finest = index if finest is None else finest
        book = books[level][used]
        means = np.bincount(index, weights=flat.astype(np.float64)) / np.bincount(index)
        made.insert(0, np.where((book == 0) & zeros, 0.0, means).astype(weight.dtype))
        if level:
            parent = parents[level - 1][used]
            index = parent[index]
            tables.insert(0, np.unique(parent, return_inverse=True)[1].reshape(-1))  # numbers without dropped cells
    assert finest is not None
    indices = finest.reshape(weight.shape).astype(np.uint8 if made[-1].size <= 256 else np.uint16)
    levels = tuple(Level(book, table) for book, table in zip(made[:-1], tables, strict=True))
    return SharedTensor(made[-1], indices, levels)


def nested_codebooks(weight: Floats, ks: Sequence[int]) -> tuple[list[Floats], list[Cells]]:
    """Return nested k-means codebooks of a weight, with each of `ks` (ascending) entries, and parents; see `nest`."""
    books, parents = nest([level_codebook(weight, k) for k in ks])
    return _settled(weight, books, parents), parents


def nest(books: Sequence[Floats]) -> tuple[list[Floats], list[Cells]]:
    """Nest codebooks that were found independently; books: the coarsest first, each ascending.

    Returns the codebooks, without coarse values that have no finer one near them, and for each level but the coarsest
    the parent (entry of the coarser codebook) of each of its entries.
    """
    nested = [books[-1]]
    parents: list[Cells] = []
    for coarse in reversed(books[:-1]):
        used, parent = np.unique(assign(nested[0], coarse), return_inverse=True)
        nested.insert(0, coarse[used])
        parents.insert(0, parent.astype(np.int64))
    return nested, parents


def boundaries(books: Sequence[Floats], parents: Sequence[Cells]) -> list[Floats]:
    """Return each level's ascending boundaries (K − 1,) between neighbouring cells, with those of the coarser level.

    books: ascending values (K,) of each level, the coarsest first; parents: (K,) int64 for each level but the coarsest.
    A midpoint outside its coarse cell is clipped to the cell's edge.
    """
    bounds: list[Floats] = [_middles(books[0])]
    for book, parent in zip(books[1:], parents, strict=True):
        infinity = np.array([np.inf], book.dtype)
        outer = np.concatenate([-infinity, bounds[-1], infinity])  # (K_coarse + 1,)
        left, right = parent[:-1], parent[1:]  # (K − 1,): the cells on both sides of each boundary
        inner = np.minimum(np.maximum(_middles(book), outer[left]), outer[left + 1])
        bounds.append(np.where(left == right, inner, outer[right]))
    return bounds


def layer_levels(levels: Sequence[int], k: int) -> list[int]:
    """Return the numbers of shared values of a layer's levels: those of `levels` below k, and k."""
    return [*(level for level in levels[:-1] if level < k), k]


def level_codebook(weight: Floats, k: int) -> Floats:
    """Return k ascending shared values of a weight; if it has zeros, one value is zero and there are at least three."""
    if not has_zeros(weight):
        return kmeans(weight, k).codebook
    found = kmeans(weight, max(k, LEAST_K)).codebook
    return found if (found == 0).any() else with_zero_entry(weight, found)[0]


def _settled(weight: Floats, books: list[Floats], parents: list[Cells]) -> list[Floats]:
    """Refine the codebooks by Lloyd's steps inside their coarse cells, since plain k-means had other boundaries."""
    ordered, zeros = np.sort(weight.reshape(-1)), has_zeros(weight)
    sums = np.concatenate([[0.0], np.cumsum(ordered, dtype=np.float64)])
    for _ in range(_SETTLING_STEPS):
        for level, bound in enumerate(boundaries(books, parents)):
            cuts = np.concatenate([[0], np.searchsorted(ordered, bound, side="right"), [ordered.size]])
            counts = np.diff(cuts)  # (K,)
            means = np.diff(sums[cuts]) / np.maximum(counts, 1)
            moves = (counts > 0) & ~(zeros & (books[level] == 0))
            books[level] = np.where(moves, means, books[level]).astype(weight.dtype)
    return books


def _middles(book: Floats) -> Floats:
    middles: Floats = (book[1:] + book[:-1]) / 2
    return middles
