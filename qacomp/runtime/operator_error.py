"""Express the error of a shared tensor in decibels, relative to what is right; numpy is enough for it."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qacomp.formats import BFLOAT16, SharedTensor, bfloat16_to_float32

WEIGHTS = "weights"
"""Stands for the operator's type if no operator was run, and the error is that of the weights."""
_PART = 1 << 22  # values that are compared at once: 32 MiB in double precision
_EXACT = -200.0  # decibels, stands for no error: below what float64 resolves


@dataclass(frozen=True)
class OperatorError:
    """`db`: decibels, negative if the error is smaller than the output; `of`: the operator's type, or WEIGHTS."""

    db: float
    of: str


def decibels(error: float, size: float) -> float:
    """Compute 10·log10(error / size) of two sums of squares; −200 for no error, 0 if `size` is 0 and `error` isn't."""
    if error <= 0:
        return _EXACT
    return max(_EXACT, 10 * math.log10(error / size)) if size > 0 else 0.0


def weight_error(original: NDArray[Any], shared: NDArray[Any] | SharedTensor) -> OperatorError:
    """Compute the relative error of the weights themselves: Σ|shared − original|² / Σ|original|², in decibels."""
    error = size = 0.0
    flat = original.reshape(-1)
    for start in range(0, flat.size, _PART):
        stop = min(start + _PART, flat.size)
        wide = _floats(flat[start:stop]).astype(np.float64)
        after = shared.part(start, stop) if isinstance(shared, SharedTensor) else shared.reshape(-1)[start:stop]
        difference = _floats(after) - wide
        error += float(np.square(difference, out=difference).sum())
        del difference
        size += float(np.square(wide, out=wide).sum())
    return OperatorError(decibels(error, size), WEIGHTS)


def _floats(array: NDArray[Any]) -> NDArray[Any]:
    return bfloat16_to_float32(array) if array.dtype == BFLOAT16 else array
