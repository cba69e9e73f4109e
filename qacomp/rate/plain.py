"""Put a tensor on the coarsest grid whose error is small enough; nothing but its own values is known."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qacomp.formats import BFLOAT16, bfloat16_to_float32
from qacomp.rate.compensation import rounded
from qacomp.rate.grid_form import MOST_VALUES, grid_tensor, grid_values
from qacomp.sharing.share import Packed, in_own_dtype, unfit

_NARROWER = 0.99  # factor beyond what the measured error asks for, so that few trials are enough
_MOST_TRIALS = 12


def on_grid_within(array: NDArray[Any], error: float, precision: str) -> Packed | str:
    """Return the tensor on a uniform grid with Σ|w − ŵ|² ≤ error · Σ|w|², or the text why it can't be put on one.

    precision: of the codebook in the file. If the finest grid isn't fine enough, the tensor is on that one.
    """
    values = bfloat16_to_float32(array) if array.dtype == BFLOAT16 else array
    if (why := unfit(values)) is not None:
        return why
    wide = values.astype(np.float64)
    size, largest = float((wide**2).sum()), float(np.abs(wide).max(initial=0.0))
    finest = 2 * largest / (MOST_VALUES - 2) or 1.0
    step = max(finest, float(np.sqrt(12 * error * size / max(1, wide.size))))  # a uniform error of step² / 12
    for _ in range(_MOST_TRIALS):
        found = float(((wide - rounded(wide, step) * step) ** 2).sum())
        if found <= error * size or step == finest:
            break
        step = max(finest, _NARROWER * step * float(np.sqrt(error * size / found)))
    integers = rounded(wide, step)
    return in_own_dtype(
        grid_tensor(integers, grid_values(integers, step, np.dtype(np.float64))), array.dtype, precision
    )
