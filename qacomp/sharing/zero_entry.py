"""Exact zeros stay exact zeros: a codebook of values with zeros among them has an entry of exactly zero.

Zeros are no small numbers: they are padding rows, or what a pruning has left, and whoever skips them relies on it. The
entry nearest to zero is moved there, and Lloyd's steps let the others settle around it.
"""

import numpy as np
from numpy.typing import NDArray

from qacomp.sharing.assignment import assign

LEAST_K = 3
"""A zero and a value on each side of it: with two values the one beside the zero would stand for both signs."""
_STEPS, _STEPS_OF_MANY, _MANY = 12, 3, 1 << 20


def has_zeros(values: NDArray[np.floating]) -> bool:
    """Return whether some value is exactly zero."""
    return bool((values == 0).any())


def with_zero_entry(
    values: NDArray[np.floating], codebook: NDArray[np.floating], weights: NDArray[np.floating] | None = None
) -> tuple[NDArray[np.floating], NDArray[np.unsignedinteger]]:
    """Return the ascending codebook (K,) with a zero entry, and each value's nearest entry in values' shape.

    values: with zeros among them; weights: values' shape, what a squared error of each counts, None: all the same.
    """
    flat = values.reshape(-1)
    masses = None if weights is None else np.ascontiguousarray(weights, np.float64).reshape(-1)
    book, zero = codebook.copy(), int(np.abs(codebook).argmin())
    book[zero] = 0
    indices = assign(flat, book)
    for _ in range(_STEPS if flat.size < _MANY else _STEPS_OF_MANY):
        count = np.bincount(indices, masses, minlength=book.size)
        total = np.bincount(indices, flat if masses is None else flat * masses, minlength=book.size)
        means = np.where(count > 0, total / np.where(count > 0, count, 1), book)
        means[zero] = 0
        settled = means.astype(book.dtype)
        if np.array_equal(settled, book) or not (np.diff(settled) > 0).all():
            break
        book = settled
        indices = assign(flat, book)
    return book, indices.reshape(values.shape)


def with_masked_zero(
    codebook: NDArray[np.floating], indices: NDArray[np.unsignedinteger], mask: NDArray[np.bool_]
) -> tuple[NDArray[np.floating], NDArray[np.unsignedinteger], int]:
    """Put what `mask` holds at zero at an entry of exact zero: (codebook (K',), indices, that entry's index).

    mask: bool, indices' shape, False where the value is zero; indices there mean nothing. The codebook stays ascending
    where it was; entries that no value in the mask uses are dropped. One that is exactly zero already is that entry.
    """
    used, renumbered = np.unique(indices[mask], return_inverse=True)
    values = codebook[used]
    place, held = int(np.searchsorted(values, 0.0)), bool((values == 0).any())
    book = values if held else np.insert(values, place, 0.0).astype(codebook.dtype)
    numbers = np.arange(used.size) + (np.arange(used.size) >= place if not held else 0)
    full = np.full(mask.shape, place, np.uint8 if book.size <= 256 else np.uint16)
    full[mask] = numbers[renumbered.reshape(-1)]
    return book, full, place
