"""Codebooks in blocks: which codebook each value of a tensor reads, and looking runs of values up.

A block shape has one entry an axis. Value (i0, ..., in) of a tensor reads codebook (i0 // b0, ..., in // bn); codebooks
stand in row-major order of those numbers, each with K values, as an array (ceil(d0 / b0), ..., ceil(dn / bn), K).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_PIECE = 1 << 15  # values whose temporaries stay in the cache


@dataclass(frozen=True)
class Division:
    """The division of a tensor among codebooks: its shape, and the shape of the block that each of them serves."""

    shape: tuple[int, ...]
    blocks: tuple[int, ...]


def grid(shape: Sequence[int], blocks: Sequence[int]) -> tuple[int, ...]:
    """Return how many codebooks there are along each axis."""
    return tuple(-(-size // block) for size, block in zip(shape, blocks, strict=True))


def merge(shape: Sequence[int], blocks: Sequence[int]) -> tuple[list[int], list[int]]:
    """Return fewer axes and blocks of the same numbering; neighbours are joined where blocks follow one another."""
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
    """Return [first, last): among these codebooks are all that the values [start, stop) in row-major order read."""
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
    """Look up the values from `start` on, in row-major order, of indices (n,), each below K.

    codebooks: (..., K), beginning with number `first`; out: (n,) of their dtype, made where it isn't given.
    """
    flat, k = codebooks.reshape(-1), codebooks.shape[-1]
    if out is None:
        out = np.empty(len(indices), codebooks.dtype)
    if not len(indices):
        return out
    sizes, spans = merge(division.shape, division.blocks)
    inner, books = math.prod(sizes[1:]), grid(sizes[1:], spans[1:])
    numbers = np.zeros((1,) * len(books), np.int64)  # of the axes behind the first: (inner,) once it is flat
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
