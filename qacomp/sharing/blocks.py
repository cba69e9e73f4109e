"""Share a tensor with a codebook for each channel, or for each group of weights in a channel."""

import itertools
import math

import numpy as np
from numpy.typing import NDArray

from qacomp.formats import SharedTensor
from qacomp.sharing.block_kmeans import cluster_rows
from qacomp.sharing.zero_entry import LEAST_K, has_zeros

_ENTRY_BITS = 16  # usual bits of a codebook's value, and of a weight that isn't shared


def block_shape(shape: tuple[int, ...], axis: int, codebook: str, k: int) -> tuple[int, ...] | None:
    """Return the block shape of one codebook, or None if one codebook for the whole tensor is the better choice.

    axis: that of the output channels; codebook: "tensor", "channel" (all weights of a channel) or "group:N" (about N
    weights of a channel, neighbours along the innermost of the other axes first). None is returned if a block with K
    shared values would take more bits than its weights in fp16.
    """
    if codebook == "tensor":
        return None
    budget = math.prod(shape) if codebook == "channel" else int(codebook.removeprefix("group:"))
    blocks = [1] * len(shape)
    for other in reversed(range(len(shape))):
        if other != axis:
            blocks[other] = max(1, min(shape[other], budget))
            budget = budget // shape[other] if blocks[other] == shape[other] else 1
    n = math.prod(blocks)
    too_small = k * _ENTRY_BITS + n * math.log2(k) >= n * _ENTRY_BITS
    return None if too_small or n == math.prod(shape) else tuple(blocks)


def share_in_blocks(values: NDArray[np.floating], k: int, blocks: tuple[int, ...]) -> SharedTensor:
    """Cluster each block of `values` by itself; codebooks (ceil(d0 / b0), ..., k) are ascending, in the values' dtype.

    Blocks at the end of an axis may be smaller. Exact zeros keep an entry, so if there are zeros codebooks have at
    least three entries.
    """
    if k < LEAST_K and has_zeros(values):
        k = LEAST_K
    grid = [-(-size // block) for size, block in zip(values.shape, blocks, strict=True)]
    books = np.empty((*grid, k), values.dtype)
    indices = np.empty(values.shape, np.uint8 if k <= 256 else np.uint16)
    pieces = [_pieces(size, block) for size, block in zip(values.shape, blocks, strict=True)]
    for corner in itertools.product(*pieces):
        place = tuple(slice(start, stop) for start, stop, _ in corner)
        shape = [n for start, stop, step in corner for n in ((stop - start) // step, step)]
        order = [*range(0, len(shape), 2), *range(1, len(shape), 2)]  # block numbers first, then positions in a block
        rows = values[place].reshape(shape).transpose(order).reshape(-1, math.prod(shape[1::2]))  # (G, n)
        codebooks, found = cluster_rows(np.ascontiguousarray(rows), k)
        counts = tuple(shape[::2])
        numbers = tuple(slice(s // b, s // b + c) for (s, _, _), b, c in zip(corner, blocks, counts, strict=True))
        books[numbers] = codebooks.reshape(*counts, k)
        inside = found.reshape([shape[axis] for axis in order]).transpose(np.argsort(order))
        indices[place] = inside.reshape(indices[place].shape)
    return SharedTensor(books, indices, (), blocks)


def _pieces(size: int, block: int) -> list[tuple[int, int, int]]:
    """Return (start, stop, block) of the whole blocks along an axis, and of the smaller block at its end."""
    whole = size - size % block
    return [piece for piece in ((0, whole, block), (whole, size, size - whole)) if piece[0] < piece[1]]
