"""Tensors whose rows follow a trellis, for the test vectors."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qacomp.formats import SharedTensor

_AFTER = (0, 5, 1, 6, 2, 4, 3, 7)  # the next state after an even symbol; after an odd one 2 is exclusive-ored
Numbers = Callable[[int, int, int], NDArray[np.int64]]
"""Returns pseudo-random integers: (count,) below a bound, from a seed."""


def on_trellis(numbers: Numbers, shape: tuple[int, ...], rows: int, seed: int) -> SharedTensor:
    """A tensor whose values, cut into so many rows, lie on a trellis."""
    symbols = numbers(int(np.prod(shape)), 11, seed).reshape(rows, -1) - 5
    multiples = np.zeros(symbols.shape, np.int64)
    for row, found in zip(symbols, multiples, strict=True):
        state = 0
        for place, symbol in enumerate(row.tolist()):
            found[place] = 2 * symbol - int(np.sign(symbol)) * (state & 1)
            state = _AFTER[state] ^ 2 * (symbol & 1)
    book = ((np.arange(21) - 10) / 64).astype(np.float32)
    return SharedTensor(book, (multiples + 10).astype(np.uint8).reshape(shape))


def moved_on_trellis(numbers: Numbers, tensor: SharedTensor, rows: int, seed: int) -> SharedTensor:
    """The tensor with paths that leave its own at a few places and come back. rows: 0 for those of the first axis."""
    if not rows:
        return turned(moved_on_trellis(numbers, turned(tensor), tensor.indices.shape[1], seed))
    old = tensor.indices.reshape(rows, -1).astype(np.int64) - 10
    drawn = numbers(old.size, 1000, seed).reshape(old.shape) % 50
    found = np.zeros_like(old)
    for row, (multiples, moves) in enumerate(zip(old.tolist(), drawn.tolist(), strict=True)):
        state = 0
        for place, (wanted, move) in enumerate(zip(multiples, moves, strict=True)):
            near = min(max(wanted + {0: -2, 1: 2}.get(move, 0), -10), 10)
            away = int(np.sign(near)) * ((near + (state & 1)) & 1)  # towards zero, to a multiple of the state's
            found[row, place] = near - away
            symbol = (abs(near - away) + (state & 1) * (near != away or near != 0)) // 2
            state = _AFTER[state] ^ 2 * (symbol & 1)
    return SharedTensor(tensor.codebook, (found + 10).astype(np.uint8).reshape(tensor.indices.shape))


def turned(tensor: SharedTensor) -> SharedTensor:
    """A matrix on a trellis, transposed: its rows lie along the first axis."""
    return SharedTensor(tensor.codebook, np.ascontiguousarray(tensor.indices.T))


def trellis_tensors(numbers: Numbers, shared: Callable[..., SharedTensor]) -> dict[str, Any]:
    """Rows on a trellis along each axis, in one group with tensors without a path; and in chunks that cut rows."""
    tensors = {
        "conv": on_trellis(numbers, (6, 4, 3, 3), 6, 1),
        "flat": shared((11, 7), 5, 2),
        "across": turned(on_trellis(numbers, (9, 20), 9, 3)),
        "gates": on_trellis(numbers, (2, 5, 30), 10, 4),
        "none": SharedTensor(np.array([-1, 0], np.float32) / 64, np.zeros((3, 0, 2), np.uint8)),
        "long": on_trellis(numbers, (20, 75), 20, 5),
        "turned": turned(on_trellis(numbers, (40, 32), 40, 6)),
        "wide": on_trellis(numbers, (3, 700), 3, 7),
    }
    tensors |= {f"small{n}": on_trellis(numbers, (8, 9 + n), 8, n) for n in range(3)}
    return tensors | {f"plain{n}": shared((5, 8), 3 + n, n) for n in range(3)}
