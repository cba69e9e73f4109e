"""Weights whose model can't be run: the distance is that of the weights themselves."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qacomp.rate.calibrated import Moment
from qacomp.rate.weight_error import relative_error


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
