"""Where each weight's block begins in the flat table of all blocks' codebooks, as a sum of one vector an axis.

Weight (i0, ..., in) looks up codebook[i0 // b0, ..., in // bn, index]; with strides s of the codebook's axes in the
flat table that is place Σ (i // b) · s + index, so the offsets broadcast from vectors as long as the tensor's axes.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from qacomp.formats import SharedTensor


def block_offsets(tensor: SharedTensor) -> list[NDArray[np.int32]]:
    """One vector an axis with several blocks, shaped (1, ..., d, ..., 1) for broadcasting; none for one codebook."""
    if tensor.blocks is None:
        return []
    shape, book = tensor.indices.shape, tensor.codebook.shape
    vectors = []
    for axis, (size, block) in enumerate(zip(shape, tensor.blocks, strict=True)):
        if book[axis] > 1:
            stride = math.prod(book[axis + 1 :])
            spread = [1] * len(shape)
            spread[axis] = size
            vectors.append((np.arange(size) // block * stride).astype(np.int32).reshape(spread))
    return vectors
