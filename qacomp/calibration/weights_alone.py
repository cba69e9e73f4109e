"""Weights whose model can't be run: the distance is that of the weights themselves."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qacomp.formats import BFLOAT16, bfloat16_to_float32
from qacomp.rate.calibrated import Moment


class WeightsAlone:
    """Tensors without operators. read: gives a tensor's own values by its name."""

    text = "the weights alone, since no outputs can be compared"
    batches = 0

    def __init__(self, read: Callable[[str], NDArray[Any]]) -> None:
        self._read = read

    def moments(self, names: Mapping[str, tuple[int, ...]], advance: Callable[[], None]) -> dict[str, Moment]:
        """Return no moment: nothing is known of operators."""
        return {}

    def distance(self, values: Mapping[str, NDArray[Any]]) -> float:
        """Return the squared error of the weights relative to their own squares, the mean over the tensors."""
        return float(np.mean([relative_error(self._read(name), value) for name, value in values.items()] or [0.0]))


def relative_error(original: NDArray[Any], changed: NDArray[Any]) -> float:
    """Return Σ|w − ŵ|² / Σ|w|² of two arrays of one shape; 0 where all are zero."""
    before, after = (bfloat16_to_float32(a) if a.dtype == BFLOAT16 else a for a in (original, changed))
    wide = before.astype(np.float64)
    size = float((wide**2).sum())
    return float(((wide - after) ** 2).sum()) / size if size > 0 else 0.0
