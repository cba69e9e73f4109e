"""Make codebooks of pairs ±c for tensors that repeat themselves up to signs, as cosine and wavelet transforms do.

With such a codebook, a slice that is the negative of another one stays its negative, so a look-up model stores both
once (`qacomp.exporting.onnx_forms.repeats`) and gets several times smaller. In return, the codebook may have one entry
less than K, and errors aren't balanced. If only the values come in pairs ±v but slices don't repeat, as for random
weights on a symmetric grid, a tensor is clustered like any other.
"""

import numpy as np
from numpy.typing import NDArray

from qacomp.sharing.assignment import assign
from qacomp.sharing.kmeans import Clustering, inertia_of, kmeans

_LEAST_K = 5  # two pairs and a zero
_LEAST_SLICES, _MOST_DIFFERENT = 4, 0.75  # the conditions under which a look-up model stores equal slices once


def mirrored_clusters(values: NDArray[np.floating], k: int, mask: NDArray[np.bool_] | None = None) -> Clustering | None:
    """Return `symmetric_kmeans` of finite `values` (any shape) if they repeat themselves up to signs, else None.

    mask: bool in the values' shape, True for the n values to cluster (the result's indices are then (n,)); None: all.
    """
    found = symmetric_kmeans(values if mask is None else values[mask], k)
    return found if found is not None and _slices_repeat(values) else None


def _slices_repeat(values: NDArray[np.floating]) -> bool:
    """Return whether along some axis at least a quarter of the slices have the magnitudes of other slices."""
    for axis, count in enumerate(values.shape):
        rows = np.abs(np.moveaxis(values, axis, 0).reshape(count, -1))
        if count >= _LEAST_SLICES and len({row.tobytes() for row in rows}) <= _MOST_DIFFERENT * count:
            return True
    return False


def symmetric_kmeans(values: NDArray[np.floating], k: int) -> Clustering | None:
    """Return at most `k` clusters of finite `values` (any shape) with a symmetric codebook, or None.

    None if some value occurs without its negative, or if k is too small.
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
    return Clustering(codebook, indices, inertia_of(values.reshape(-1), codebook, indices.reshape(-1)))
