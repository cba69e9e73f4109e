"""Codebooks of pairs ±c for tensors whose values come in pairs ±v, as those of cosine and wavelet transforms do.

What is mirrored in the tensor is then mirrored in its shared values, so a reader needs a part of it only
(`qacomp.exporting.onnx_forms.repeats`), and a dictionary coder finds the rest.
"""

import numpy as np
from numpy.typing import NDArray

from qacomp.sharing.assignment import assign
from qacomp.sharing.kmeans import Clustering, kmeans

_LEAST_K = 5  # two magnitudes and a zero


def symmetric_kmeans(values: NDArray[np.floating], k: int) -> Clustering | None:
    """At most `k` clusters of finite `values` (any shape) with a codebook that is its own mirror image.

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
