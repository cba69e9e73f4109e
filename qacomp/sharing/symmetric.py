"""Codebooks of pairs ±c for tensors that repeat themselves up to signs, as cosine and wavelet transforms do.

A slice that is another one's negative is then the same slice of shared values up to signs, so a look-up model stores it
once (`qacomp.exporting.onnx_forms.repeats`), and becomes several times smaller. The price is an odd entry, and errors
that aren't balanced. A tensor whose values alone come in pairs ±v, such as random weights on a
symmetric grid of integers, gains nothing, and is clustered as any other.
"""

import numpy as np
from numpy.typing import NDArray

from qacomp.sharing.assignment import assign
from qacomp.sharing.kmeans import Clustering, kmeans

_LEAST_K = 5  # two magnitudes and a zero
_LEAST_SLICES, _MOST_DIFFERENT = 4, 0.75  # as the look-up asks of slices before it stores only the different ones


def mirrored_clusters(values: NDArray[np.floating], k: int, mask: NDArray[np.bool_] | None = None) -> Clustering | None:
    """Return `symmetric_kmeans` of finite `values` (any shape) that repeat themselves up to signs, else None.

    mask: bool, values' shape: those that are clustered, (n,); None: all.
    """
    found = symmetric_kmeans(values if mask is None else values[mask], k)
    return found if found is not None and _slices_repeat(values) else None


def _slices_repeat(values: NDArray[np.floating]) -> bool:
    """Return whether the magnitudes of a quarter of the slices along an axis stand in others too."""
    for axis, count in enumerate(values.shape):
        rows = np.abs(np.moveaxis(values, axis, 0).reshape(count, -1))
        if count >= _LEAST_SLICES and len({row.tobytes() for row in rows}) <= _MOST_DIFFERENT * count:
            return True
    return False


def symmetric_kmeans(values: NDArray[np.floating], k: int) -> Clustering | None:
    """Return at most `k` clusters of finite `values` (any shape) with a codebook that is its own mirror image.

    None where some value's negative doesn't occur, or k is too small for that.
    """
    if k < _LEAST_K or not values.size or values.min() != -values.max():
        return None
    distinct = np.unique(values)
    if not distinct[0] or not np.array_equal(distinct, -distinct[::-1]):
        return None
    middle = distinct[distinct == 0]
    sizes = kmeans(np.abs(values[values != 0]), (k - middle.size) // 2).codebook  # (≤ k / 2,) ascending
    codebook = np.concatenate([-sizes[::-1], middle, sizes])
    indices = assign(np.abs(values), codebook)
    indices = np.where(values < 0, codebook.size - 1 - indices, indices).astype(indices.dtype)
    error = values.astype(np.float64) - codebook.take(indices)
    return Clustering(codebook, indices, float((error * error).sum()))
