"""Keep exact zeros: if values have exact zeros, their codebook gets an entry of exactly zero.

Exact zeros have a meaning, such as padding rows or pruned weights, and some runtimes skip them. The codebook entry
nearest to zero is set to zero, and Lloyd's steps refine the others.
"""

import numpy as np
from numpy.typing import NDArray

from qacomp.sharing.assignment import assign

LEAST_K = 3
"""A zero and one value on each side; with two values, the other one would have to represent both signs."""
_STEPS, _STEPS_OF_MANY, _MANY = 12, 3, 1 << 20
_BLOCK = 1 << 20  # values that are summed at once


def has_zeros(values: NDArray[np.floating]) -> bool:
    """Return whether a value is exactly zero."""
    return bool((values == 0).any())


def with_zero_entry(
    values: NDArray[np.floating], codebook: NDArray[np.floating], weights: NDArray[np.floating] | None = None
) -> tuple[NDArray[np.floating], NDArray[np.unsignedinteger]]:
    """Return (ascending codebook (K,) with a zero entry, index of each value's nearest entry in the values' shape).

    weights: in the values' shape, the weight of each squared error; None: equal weights.
    """
    flat = values.reshape(-1)
    masses = None if weights is None else np.ascontiguousarray(weights, np.float64).reshape(-1)
    book, zero = codebook.copy(), int(np.abs(codebook).argmin())
    book[zero] = 0
    indices = assign(flat, book)
    for _ in range(_STEPS if flat.size < _MANY else _STEPS_OF_MANY):
        count, total = _sums(indices, flat, masses, book.size)
        means = np.where(count > 0, total / np.where(count > 0, count, 1), book)
        means[zero] = 0
        settled = means.astype(book.dtype)
        if np.array_equal(settled, book) or not (np.diff(settled) > 0).all():
            break
        book = settled
        indices = assign(flat, book)
    return book, indices.reshape(values.shape)


def _sums(
    indices: NDArray[np.unsignedinteger],
    flat: NDArray[np.floating],
    masses: NDArray[np.float64] | None,
    k: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mass and the weighted sum of each entry's values: what `bincount` gives, in less memory.

    Each block begins with the sums so far, so all additions come in the order of one `bincount` over all values.
    """
    every = np.arange(k)
    count: NDArray[np.float64] = np.zeros(k)
    total: NDArray[np.float64] = np.zeros(k)
    for start in range(0, flat.size, _BLOCK):
        block = slice(start, start + _BLOCK)
        places = np.concatenate([every, indices[block]])
        mass = np.ones(places.size - k) if masses is None else masses[block]
        count = _added(places, count, mass)
        weighted = flat[block].astype(np.float64) if masses is None else flat[block] * mass
        total = _added(places, total, weighted)
    return count, total


def _added(places: NDArray[np.integer], sums: NDArray[np.float64], amounts: NDArray[np.float64]) -> NDArray[np.float64]:
    added: NDArray[np.float64] = np.bincount(places, np.concatenate([sums, amounts]), sums.size).astype(np.float64)
    return added


def with_masked_zero(
    codebook: NDArray[np.floating], indices: NDArray[np.unsignedinteger], mask: NDArray[np.bool_]
) -> tuple[NDArray[np.floating], NDArray[np.unsignedinteger], int]:
    """Give the values outside the mask an entry of exactly zero: (codebook (K',), indices, index of that entry).

    mask: bool in the shape of the indices, False for values that are zero; their indices are ignored. An ascending
    codebook stays ascending. Entries that no value in the mask uses are dropped. If an entry is exactly zero already,
    it is used.
    """
    used, renumbered = np.unique(indices[mask], return_inverse=True)
    values = codebook[used]
    place, held = int(np.searchsorted(values, 0.0)), bool((values == 0).any())
    book = values if held else np.insert(values, place, 0.0).astype(codebook.dtype)
    numbers = np.arange(used.size) + (np.arange(used.size) >= place if not held else 0)
    full = np.full(mask.shape, place, np.uint8 if book.size <= 256 else np.uint16)
    full[mask] = numbers[renumbered.reshape(-1)]
    return book, full, place
