"""Round a weight with compensation to the coarsest grid at which its operator's outputs are exact enough."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qacomp.formats import SharedTensor
from qacomp.rate.grid_form import MOST_VALUES, distinct, grid_tensor, grid_values, plain_step
from qacomp.rate.steps import WeightOnGrid

_NEAR = 0.9  # of the error that is allowed: a step with more of it is coarse enough
_MOST_TRIALS = 6  # each takes as long as the product of the weight with so many texts as it has inputs


@dataclass(frozen=True)
class _TriedGrid:
    step: float
    integers: NDArray[np.int64]
    error: float


def compensated_within(weight: WeightOnGrid, error: float) -> SharedTensor | None:
    """Return the weight, float64 codebook, on a grid with an output error of at most `error` of the outputs' squares.

    weight: with a factor. None if no grid that was tried is that exact, or has few enough values.
    """
    allowed = error * weight.output_error(np.zeros(weight.values.shape))
    finest = 2 * float(np.abs(weight.values.astype(np.float64)).max(initial=0.0)) / MOST_VALUES
    step, best = max(weight.first_step(), finest), None
    for _ in range(_MOST_TRIALS):
        trial = _tried(weight, plain_step(step))
        if trial.error <= allowed and (best is None or trial.step > best.step):
            best = trial
        if trial.error <= 0 or step < finest or _NEAR * allowed <= trial.error <= allowed:
            break
        step *= math.sqrt(allowed / trial.error) * (1 + _NEAR) / 2
    if best is None or distinct(best.integers)[0].size > MOST_VALUES:
        return None
    return grid_tensor(best.integers, grid_values(best.integers, best.step, np.dtype(np.float64)))


def _tried(weight: WeightOnGrid, step: float) -> _TriedGrid:
    integers = weight.integers(step)
    values: NDArray[Any] = integers.astype(np.float64) * step
    return _TriedGrid(step, integers, weight.output_error(values))
