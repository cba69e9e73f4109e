"""Cluster a tensor near the clusters of its base: Lloyd's steps from its codebook, and indices that rather stay."""

import numpy as np
from numpy.typing import NDArray

from qacomp.sharing.assignment import assign
from qacomp.sharing.base import HELD
from qacomp.sharing.kmeans import Clustering
from qacomp.sharing.selection import Layer
from qacomp.sharing.zero_entry import has_zeros

_STEPS = 12


def near_base(values: NDArray[np.floating], layer: Layer) -> Clustering | None:
    """Return clusters of finite values near those of the layer's base; None without a base of this shape and K.

    The entry nearest to zero is exactly zero if there are exact zeros.
    """
    base = None if layer.base is None else layer.base.shared(values.shape)
    if base is None or not 0 <= layer.k - base.codebook.size <= 1 or not (np.diff(base.codebook) > 0).all():
        return None
    flat, before = values.reshape(-1).astype(np.float64), base.indices.reshape(-1).astype(np.intp)
    book = base.codebook.astype(np.float64)
    zero = int(np.abs(book).argmin()) if has_zeros(values) else None
    indices = before
    for _ in range(_STEPS):
        if zero is not None:
            book[zero] = 0
        indices = _assigned(flat, book, before)
        if zero is not None:
            indices[flat == 0] = zero
        count = np.bincount(indices, minlength=book.size)
        means = np.where(count > 0, np.bincount(indices, flat, book.size) / np.maximum(count, 1), book)
        if zero is not None:
            means[zero] = 0
        if np.array_equal(means, book) or not (np.diff(means.astype(values.dtype)) > 0).all():
            break
        book = means
    own = book.astype(values.dtype)
    error = flat - own.astype(np.float64).take(indices)
    narrow: NDArray[np.unsignedinteger] = indices.astype(np.uint8 if own.size <= 256 else np.uint16)
    return Clustering(own, narrow.reshape(values.shape), float((error * error).sum()))


def _assigned(flat: NDArray[np.float64], book: NDArray[np.float64], before: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return the nearest entries, or those of the base where they are little farther (see `HELD`)."""
    nearest = assign(flat, book).astype(np.intp)
    gap = np.abs(book[nearest] - book[before]) / np.maximum(np.abs(nearest - before), 1)
    worse = (flat - book[before]) ** 2 - (flat - book[nearest]) ** 2
    return np.where(worse < 2 * HELD * gap**2, before, nearest)
