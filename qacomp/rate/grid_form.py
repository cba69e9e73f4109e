"""Turn integers on a uniform grid into a shared tensor, whose codebook holds the values that occur, on equal steps."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qacomp.formats import SharedTensor, stored_values
from qacomp.sharing.affine_grid import exact_multiples

MOST_VALUES = 65_536
"""The largest codebook of a container, whose indices have at most two bytes."""
_MOST_COUNTED = 1 << 22  # integers between the ends up to which counting is quicker than sorting
_STEP_BITS = 8  # of a step: fp16 has 11, and a step may miss the best one by 0.4 %; fewer bits miss target sizes
_INNER, _TUNED = 3, 0.35  # integers around zero that tell a tuned grid, and how far they may be off, in steps
_WEIGHTS_A_VALUE = 800  # single precision adds two bytes a value at most: 1 % of 800 weights of two bits


def grid_tensor(integers: NDArray[np.integer], values: NDArray[np.floating]) -> SharedTensor:
    """Return the shared tensor in which each integer is replaced by its value.

    values: one for each distinct integer, in ascending order of the integers (see `distinct`). Raises ValueError for
    another number of values, or more than MOST_VALUES.
    """
    found, places = distinct(integers)
    if found.size != values.size or found.size > MOST_VALUES:
        raise ValueError(f"{found.size} levels need as many values, and no more than {MOST_VALUES}")
    dtype = np.uint8 if found.size <= 256 else np.uint16
    return SharedTensor(values, places.astype(dtype))


def distinct(integers: NDArray[np.integer]) -> tuple[NDArray[np.integer], NDArray[np.intp]]:
    """Return the distinct integers (K,), ascending, and the index among them of each weight, in the integers' shape."""
    low, counts = _counted(integers)
    if counts is None:
        found, places = np.unique(integers, return_inverse=True)
        return found, places.reshape(integers.shape)
    numbers = np.cumsum(counts > 0) - 1
    return np.flatnonzero(counts) + low, numbers[integers - low]


def grid_values(integers: NDArray[np.integer], step: float, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return integer · step for each integer that occurs, ascending: (K,) of a float dtype."""
    return (distinct(integers)[0] * step).astype(dtype)


def plain_step(step: float) -> float:
    """Round a step to so few bits that its multiples up to ±7 are exact in half precision."""
    significand, exponent = math.frexp(step)  # significand in [0.5, 1)
    return math.ldexp(round(math.ldexp(significand, _STEP_BITS)), exponent - _STEP_BITS)


def step_of(shared: SharedTensor | None) -> float | None:
    """Return the step of a grid on which a tensor's codebook is, or was before its values were tuned; else None.

    Tuned values are still near multiples of the step they had; the one nearest to zero was zero.
    """
    if shared is None:
        return None
    book = np.unique(shared.codebook.astype(np.float64))
    numbers = np.arange(book.size) - int(np.abs(book).argmin())
    exact = exact_multiples(book.astype(np.float32))
    if exact is not None and book.size > 1 and bool((np.abs(exact[0][np.abs(numbers) == 1]) == 1).all()):
        return float(exact[1])  # the values next to zero are one step away from it
    near = (np.abs(numbers) <= _INNER) & (numbers != 0)
    if not near.any() or np.ptp(np.sign(numbers[near])) == 0:
        return None
    step = float((book[near] * numbers[near]).sum() / (numbers[near] ** 2).sum())
    near |= numbers == 0
    return step if bool((np.abs(book[near] - step * numbers[near]) <= _TUNED * step).all()) else None


def grid_precision(shared: SharedTensor, precision: str) -> str:
    """Return the precision of a codebook: `precision`, or exact where that would make the steps of a grid unequal.

    Unequal steps remain only where the bytes of exact values would be many beside those of the indices.
    """
    book = shared.codebook.astype(np.float32)
    spoiled = exact_multiples(book) is not None and exact_multiples(stored_values(book, precision)) is None
    few = shared.indices.size >= _WEIGHTS_A_VALUE * book.size
    return "exact" if spoiled and few else precision


def entropy_bits(integers: NDArray[np.integer]) -> float:
    """Compute the order-0 entropy of the integers, summed over all of them, in bits."""
    counts = _counted(integers)[1]
    if counts is None:
        counts = np.unique(integers, return_counts=True)[1]
    counts = counts[counts > 0]
    share = counts / max(1, integers.size)
    return float(-(counts * np.log2(share)).sum())


def _counted(integers: NDArray[np.integer]) -> tuple[int, NDArray[np.intp] | None]:
    """Return the least integer, and how often each from there to the largest occurs; None if they are far apart."""
    if not integers.size:
        return 0, None
    low, high = int(integers.min()), int(integers.max())
    if high - low >= _MOST_COUNTED:
        return low, None
    return low, np.bincount((integers - low).reshape(-1))
