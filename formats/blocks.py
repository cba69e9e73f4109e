"""Codebooks in blocks: find the codebook that each value of a tensor reads, and look up runs of values.

A block shape has one entry for each axis. Value (i0, ..., in) of a tensor reads codebook (i0 // b0, ..., in // bn).
The codebooks are one array of shape (ceil(d0 / b0), ..., ceil(dn / bn), K), in row-major order.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_PIECE = 1 << 15  # values looked up at once, so few that the temporary arrays stay in the cache


@dataclass(frozen=True)
class Division:
    """The division of a tensor into blocks: the shape of the tensor, and the shape of the block of one codebook."""

    shape: tuple[int, ...]
    blocks: tuple[int, ...]


def grid(shape: Sequence[int], blocks: Sequence[int]) -> tuple[int, ...]:
    """Return the number of codebooks along each axis."""
    return tuple(-(-size // block) for size, block in zip(shape, blocks, strict=True))


def merge(shape: Sequence[int], blocks: Sequence[int]) -> tuple[list[int], list[int]]:
    """Return (sizes, block sizes) with axes joined where that doesn't change which codebook a value reads."""
    sizes, spans = [shape[-1]], [blocks[-1]]
    for size, block in zip(reversed(shape[:-1]), reversed(blocks[:-1]), strict=True):
        whole = spans[0] >= sizes[0]
        if whole or (block == 1 and sizes[0] % spans[0] == 0):
            spans[0] = block * sizes[0] if whole else spans[0]
            sizes[0] *= size
        else:
            sizes.insert(0, size)
            spans.insert(0, block)
    return sizes, spans


def span(shape: Sequence[int], blocks: Sequence[int], start: int, stop: int) -> tuple[int, int]:
    """Return a range [first, last) that holds every codebook read by the values [start, stop) in row-major order."""
    sizes, spans = merge(shape, blocks)
    inner, books = math.prod(sizes[1:]), math.prod(grid(sizes[1:], spans[1:]))
    return start // inner // spans[0] * books, ((stop - 1) // inner // spans[0] + 1) * books


def lookup(
    codebooks: NDArray[Any],
    indices: NDArray[Any],
    division: Division,
    start: int = 0,
    first: int = 0,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Return the values (n,) of the indices (n,), which belong to the tensor's values `start` ... `start` + n - 1.

    Values are counted in row-major order; indices are below K. codebooks: (..., K), the first of them has the number
    `first`; out: (n,) in the dtype of the codebooks, a new array if it isn't given.
    """
    flat, k = codebooks.reshape(-1), codebooks.shape[-1]
    if out is None:
        out = np.empty(len(indices), codebooks.dtype)
    if not len(indices):
        return out
    sizes, spans = merge(division.shape, division.blocks)
    inner, books = math.prod(sizes[1:]), grid(sizes[1:], spans[1:])
    numbers = np.zeros((1,) * len(books), np.int64)  # codebook numbers of all axes but the first; later (inner,)
    for axis, (size, block) in enumerate(zip(sizes[1:], spans[1:], strict=True)):
        along = np.arange(size) // block * math.prod(books[axis + 1 :])
        numbers = numbers + along.reshape([-1 if i == axis else 1 for i in range(len(books))])
    numbers = numbers.reshape(-1)
    for low in range(0, len(indices), _PIECE):
        piece = indices[low : low + _PIECE]
        place = np.arange(start + low, start + low + len(piece))
        row = place // inner
        number = row // spans[0] * math.prod(books)
        if inner > 1:
            number += numbers.take(place - row * inner)
        number -= first
        number *= k
        number += piece
        flat.take(number, out=out[low : low + len(piece)], mode="clip")
    return out
