"""Weights whose model can't be run: the distance is that of the weights themselves.

How far outputs would move isn't known. Errors of a chain of operators add up, so many tensors must each be more exact
than a few.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qacomp.evaluation.verdict import GOOD_SUM
from qacomp.options.quality import QUALITY
from qacomp.rate.calibrated import Moment
from qacomp.rate.quality import DISTANCES
from qacomp.rate.weight_error import relative_error

OF_SUM: float = DISTANCES[QUALITY] / 10 ** (GOOD_SUM / 10)
"""Distance for each unit of summed errors: the default quality allows the sum above which a verdict is doubtful."""


class WeightsAlone:
    """Tensors without operators. read: gives a tensor's own values by its name."""

    text = "the weights alone, since no outputs can be compared"
    digest = ""
    of_outputs = False
    batches = 0

    def __init__(self, read: Callable[[str], NDArray[Any]]) -> None:
        self._read = read

    def moments(self, names: Mapping[str, tuple[int, ...]], advance: Callable[[], None]) -> dict[str, Moment]:
        """Return no moment: nothing is known of operators."""
        return {}

    def distance(self, values: Mapping[str, NDArray[Any]]) -> float:
        """Return the squared error of the weights relative to their own squares: the mean over the tensors.

        With many tensors it is their sum times `OF_SUM`, which is larger then.
        """
        errors = [relative_error(self._read(name), value) for name, value in values.items()] or [0.0]
        return max(float(np.mean(errors)), OF_SUM * float(np.sum(errors)))
