"""Share one array at several levels by k-means alone, in its own dtype."""

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
from qacomp.sharing.nested import layer_levels, nested_kmeans
from qacomp.sharing.selection import Layer
from qacomp.sharing.share import Packed, kept_unless_smaller, unfit
from qacomp.tensors.half_precision import codebook_precision


def share_nested(array: NDArray[Any], layer: Layer, levels: Sequence[int], precision: str) -> Packed:
    """Share a float (or BFLOAT16) array at `levels`, ascending numbers of shared values; the layer's K is the finest.

    An array of at most K distinct values keeps them exactly at its finest level; its codebooks are then stored exactly,
    whatever `precision` says. An array with NaN or infinity isn't shared, and neither is one that wouldn't get smaller.
    """
    values = bfloat16_to_float32(array) if array.dtype == BFLOAT16 else array
    if (why := unfit(values)) is not None:
        return Packed(array, kept=f"{layer.reason}, but {why}: kept exactly")
    values = np.array(values, np.float64 if values.dtype == np.float64 else np.float32)
    shared = nested_kmeans(values, layer_levels(levels, layer.k))
    distinct = np.unique(values)
    if distinct.size == shared.codebook.size:  # one cell each, but the mean of equal numbers may differ in the last bit
        shared, precision = replace(shared, codebook=distinct), "exact"
    return kept_unless_smaller(levels_in_own_dtype(shared, array.dtype, precision), array, layer)


def levels_in_own_dtype(shared: SharedTensor, dtype: np.dtype[Any], precision: str) -> Packed:
    """Return a tensor with levels, its codebooks in the array's dtype and as the file will store them.

    They are rounded to `precision` if each of them loses little (see `codebook_precision`).
    """
    books = [_in_dtype(book, dtype) for book in (shared.codebook, *(level.codebook for level in shared.levels))]
    if any(codebook_precision(book, precision) == "exact" for book in books):
        precision = "exact"
    books = [stored_values(book, precision) for book in books]
    coarser = tuple(Level(book, level.parents) for book, level in zip(books[1:], shared.levels, strict=True))
    return Packed(SharedTensor(books[0], shared.indices, coarser), precision)


def at_level(item: Packed, level: int) -> Packed:
    """Return the tensor that a reader gets at a level; 0 is the coarsest level, the last one the whole file."""
    return replace(item, value=item.value.at_level(level)) if isinstance(item.value, SharedTensor) else item


def _in_dtype(book: NDArray[np.floating], dtype: np.dtype[Any]) -> NDArray[Any]:
    return bfloat16_from_float32(book.astype(np.float32)) if dtype == BFLOAT16 else book.astype(dtype)
