"""Put a tensor on the coarsest grid whose error is small enough; nothing but its own values is known.

The tensor is worked on in parts, since a large model has tensors of a gigabyte, and double precision takes four times
the bytes of bfloat16.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qacomp.formats import BFLOAT16, SharedTensor, bfloat16_to_float32
from qacomp.rate.compensation import rounded
from qacomp.rate.grid_form import MOST_VALUES
from qacomp.sharing.share import Packed, in_own_dtype, unfit

_NARROWER = 0.99  # factor beyond what the measured error asks for, so that few trials are enough
_MOST_TRIALS = 12
_PART = 1 << 22  # values that are worked on at once: 32 MiB in double precision


def on_grid_within(array: NDArray[Any], error: float, precision: str) -> Packed | str:
    """Return the tensor on a uniform grid with Σ|w − ŵ|² ≤ error · Σ|w|², or the text why it can't be put on one.

    precision: of the codebook in the file. If the finest grid isn't fine enough, the tensor is on that one.
    """
    for values in [array] if array.dtype == np.float64 else _parts(array):
        if (why := unfit(_floats(values))) is not None:
            return why
    size = sum(float((wide**2).sum()) for wide in _wide_parts(array))
    largest = max((float(np.abs(wide).max(initial=0.0)) for wide in _wide_parts(array)), default=0.0)
    finest = 2 * largest / (MOST_VALUES - 2) or 1.0
    step = max(finest, float(np.sqrt(12 * error * size / max(1, array.size))))  # a uniform error of step² / 12
    for _ in range(_MOST_TRIALS):
        found = sum(float(((wide - rounded(wide, step) * step) ** 2).sum()) for wide in _wide_parts(array))
        if found <= error * size or step == finest:
            break
        step = max(finest, _NARROWER * step * float(np.sqrt(error * size / found)))
    return in_own_dtype(_on_grid(array, step), array.dtype, precision)


def _on_grid(array: NDArray[Any], step: float) -> SharedTensor:
    """Return the array rounded to multiples of `step`, with a codebook of those that occur, in ascending order."""
    counts = np.zeros(2 * MOST_VALUES, np.int64)  # by integer; those of the finest grid are below MOST_VALUES / 2
    for wide in _wide_parts(array):
        counts += np.bincount(rounded(wide, step) + MOST_VALUES, minlength=counts.size)
    used = np.flatnonzero(counts)
    dtype = np.uint8 if used.size <= 256 else np.uint16
    numbers = (np.cumsum(counts > 0) - 1).astype(dtype)
    indices = np.empty(array.size, dtype)
    for place, wide in enumerate(_wide_parts(array)):
        indices[place * _PART : place * _PART + wide.size] = numbers[rounded(wide, step) + MOST_VALUES]
    return SharedTensor((used - MOST_VALUES) * step, indices.reshape(array.shape))


def _parts(array: NDArray[Any]) -> Iterator[NDArray[Any]]:
    flat = array.reshape(-1)
    return (flat[start : start + _PART] for start in range(0, flat.size, _PART))


def _wide_parts(array: NDArray[Any]) -> Iterator[NDArray[np.float64]]:
    return (_floats(part).astype(np.float64) for part in _parts(array))


def _floats(array: NDArray[Any]) -> NDArray[Any]:
    return bfloat16_to_float32(array) if array.dtype == BFLOAT16 else array
