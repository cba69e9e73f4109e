"""A tensor with a codebook per block, laid out so that one flat table and broadcast offsets look it up.

Dimension i of size d with blocks of b becomes two axes (n, b), n = ceil(d / b), so that all weights of a block share
their place on the n axes; block number times K, added there, turns an index into a place in the flat table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qacomp.formats import SharedTensor


@dataclass(frozen=True)
class Interleaved:
    """indices: with one or two axes a dimension; offsets: what to add to them, broadcast, or None for one codebook.

    codebook: flat, one block's values after the other's. padded: the tensor's shape with whole blocks; the look-up's
    result is reshaped to it and cut down to the tensor's shape.
    """

    indices: NDArray[Any]
    offsets: NDArray[np.int32] | None
    codebook: NDArray[Any]
    padded: tuple[int, ...]


def interleave(tensor: SharedTensor) -> Interleaved:
    """Lay a shared tensor out; with one codebook everything stays as it is."""
    shape, counts, k = tensor.indices.shape, tensor.codebook.shape[:-1], tensor.codebook.shape[-1]
    blocks: tuple[int, ...] | None = getattr(tensor, "blocks", None)
    book = tensor.codebook.reshape(-1)
    if blocks is None or all(n == 1 for n in counts):
        return Interleaved(tensor.indices, None, book, shape)
    padded, axes, offset_axes = [], [], []
    for d, n, b in zip(shape, counts, blocks, strict=True):
        whole = d if n == 1 else n * b
        padded.append(whole)
        axes += [whole] if n == 1 or b == 1 else [n, b]
        offset_axes += [n] if n == 1 or b == 1 else [n, 1]
    widths = [(0, whole - d) for whole, d in zip(padded, shape, strict=True)]
    indices = np.pad(tensor.indices, widths).reshape(axes)
    offsets = (np.arange(len(book) // k, dtype=np.int32) * np.int32(k)).reshape(offset_axes)
    return Interleaved(indices, offsets, book, tuple(padded))
