"""One array shared at several levels by k-means alone, in its own dtype."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qacomp.formats import (
    BFLOAT16,
    Level,
    SharedTensor,
    bfloat16_from_float32,
    bfloat16_to_float32,
    stored_values,
)
from qacomp.selection import Layer
from qacomp.sharing.arrays import Packed
from qacomp.sharing.nested import layer_levels, nested_kmeans


def share_nested(array: NDArray[Any], layer: Layer, levels: Sequence[int], side: str) -> Packed:
    """Cluster a float array (or BFLOAT16) at `levels`, ascending; a layer with its own K ends at that.

    One of at most K distinct values keeps each of them exactly at its finest level, and then its coarser codebooks are
    exact too, whatever `side` says; NaN and infinity aren't shared.
    """
    values = bfloat16_to_float32(array) if array.dtype == BFLOAT16 else array
    if not np.isfinite(values).all():
        return Packed(array, kept=f"{layer.reason}, but it holds NaN or infinity: kept exactly")
    values = np.array(values, np.float64 if values.dtype == np.float64 else np.float32)
    shared = nested_kmeans(values, layer_levels(levels, layer.k))
    distinct, precision = np.unique(values), side
    if distinct.size == shared.codebook.size:  # a cell each: the mean of equal numbers may differ in the last bit
        shared, precision = replace(shared, codebook=distinct), "exact"
    books = [_stored(book, array.dtype, precision) for book in (shared.codebook, *(x.codebook for x in shared.levels))]
    coarser = tuple(Level(book, level.parents) for book, level in zip(books[1:], shared.levels, strict=True))
    return Packed(SharedTensor(books[0], shared.indices, coarser), precision)


def at_level(item: Packed, level: int) -> Packed:
    """What a reader of a level gets: 0 is the coarsest, the last the whole file."""
    return replace(item, value=item.value.at_level(level)) if isinstance(item.value, SharedTensor) else item


def _stored(book: NDArray[np.floating], dtype: np.dtype[Any], side: str) -> NDArray[Any]:
    """A codebook in the array's dtype, rounded as the file will hold it."""
    if dtype == BFLOAT16:
        return bfloat16_from_float32(book.astype(np.float32))
    return stored_values(book.astype(dtype), side)
