"""Give the inputs of a weight their own steps where that is worth the bytes of the steps."""

from dataclasses import replace

import numpy as np

from qacomp.rate.columns import columns_of
from qacomp.rate.equal_bits import bits_at
from qacomp.rate.steps import WeightOnGrid


def with_columns(weight: WeightOnGrid) -> WeightOnGrid:
    """Return the weight with a step for each input if it then takes fewer bits at equal error, else as it is."""
    if weight.view is None or weight.factor is None:
        return weight
    columns = columns_of(weight.values, weight.view, weight.factor.conditional_power)
    if columns is None:
        return weight
    tried = replace(weight, columns=columns)
    return tried if _bits(tried) < _bits(weight) else weight


def _bits(weight: WeightOnGrid) -> float:
    """Return the bits at the first step, less those that a grid of a larger step would save at an error of one."""
    step = weight.first_step()
    error = weight.output_error(weight.values_of(weight.integers(step), step))
    return bits_at(weight, step) + weight.values.size * 0.5 * float(np.log2(max(error, 1e-300)))
