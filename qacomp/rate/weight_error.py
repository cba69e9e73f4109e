"""The error of a tensor itself, for weights of which no more is known."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qacomp.formats import BFLOAT16, bfloat16_to_float32


def relative_error(original: NDArray[Any], changed: NDArray[Any]) -> float:
    """Return Σ|w − ŵ|² / Σ|w|² of two arrays of one shape; 0 where all values are zero."""
    before, after = (bfloat16_to_float32(a) if a.dtype == BFLOAT16 else a for a in (original, changed))
    wide = before.astype(np.float64)
    size = float((wide**2).sum())
    return float(((wide - after) ** 2).sum()) / size if size > 0 else 0.0
