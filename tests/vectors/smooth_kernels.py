"""Kernels whose neighbours are alike, as trained ones are, for the test vectors."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from on_trellis import Numbers

from qacomp.formats import SharedTensor

Book = Callable[[int], NDArray[np.float32]]
"""Returns a codebook of so many values."""


def kernels_of(numbers: Numbers, book: Book, shape: tuple[int, ...], k: int, seed: int) -> SharedTensor:
    """Kernels whose neighbours have the same sign and about the same size; most values are near the middle."""
    rows, columns, places = shape[0], shape[1], int(np.prod(shape[2:]))
    kernels = numbers(rows * columns, 7, seed).reshape(rows, columns, 1) - 3
    sizes = 1 + numbers(rows, 3, seed + 1).reshape(rows, 1, 1)
    noise = numbers(rows * columns * places, 3, seed + 2).reshape(rows, columns, places) - 1
    away = (kernels * sizes + 2 * noise) // 4
    return SharedTensor(book(k), np.clip(away + k // 2, 0, k - 1).astype(np.uint8).reshape(shape))


def summed_kernels(numbers: Numbers, book: Book) -> dict[str, SharedTensor]:
    """Kernels of 3 x 3 and 5 x 5 values that are sums of noise along both axes, and a tensor of one entry."""
    smooth = np.add.accumulate(np.add.accumulate(numbers(30 * 9 * 25, 5, 8).reshape(30, 9, 5, 5) - 2, 2), 3) // 3
    return {
        "three": SharedTensor(book(9), np.clip(smooth[:12, :, :3, :3] + 4, 0, 8).astype(np.uint8)),
        "five": SharedTensor(book(15), np.clip(smooth + 7, 0, 14).astype(np.uint8)),
        "lone": SharedTensor(book(1), np.zeros((5, 7), np.uint8)),
    }
