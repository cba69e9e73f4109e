"""From integers on a uniform grid to a shared tensor: the values that occur are its codebook."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qacomp.formats import SharedTensor

MOST_VALUES = 65_536
"""Of a codebook, as the container holds it: indices are of two bytes at the most."""


def grid_tensor(integers: NDArray[np.integer], values: NDArray[np.floating]) -> SharedTensor:
    """Return the tensor whose weights are `values` at the places of equal integers.

    values: one for each distinct integer, ascending as those are (see `distinct`). Raises ValueError for too many.
    """
    found, places = distinct(integers)
    if found.size != values.size or found.size > MOST_VALUES:
        raise ValueError(f"{found.size} levels need as many values, and no more than {MOST_VALUES}")
    dtype = np.uint8 if found.size <= 256 else np.uint16
    return SharedTensor(values, places.astype(dtype))


def distinct(integers: NDArray[np.integer]) -> tuple[NDArray[np.integer], NDArray[np.intp]]:
    """Return the distinct integers (K,) ascending, and of each weight which it is, in the integers' shape."""
    found, places = np.unique(integers, return_inverse=True)
    return found, places.reshape(integers.shape)


def grid_values(integers: NDArray[np.integer], step: float, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return the grid's values (K,) of the integers that occur, in a float type."""
    return (distinct(integers)[0] * step).astype(dtype)


def entropy_bits(integers: NDArray[np.integer]) -> float:
    """Compute the bits that all integers take by their own frequencies, order 0."""
    _, counts = np.unique(integers, return_counts=True)
    share = counts / max(1, integers.size)
    return float(-(counts * np.log2(share)).sum())
