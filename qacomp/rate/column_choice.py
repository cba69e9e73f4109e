"""Give the inputs of a weight their own steps where that is worth the bytes of the steps."""

from dataclasses import replace

import numpy as np

from qacomp.rate.columns import columns_of
from qacomp.rate.grid_form import entropy_bits
from qacomp.rate.steps import WeightOnGrid

_BITS = 12  # of a step in a file, about: a byte and a half


def with_columns(weight: WeightOnGrid) -> WeightOnGrid:
    """Return the weight with a step for each input if it then takes fewer bits at equal error, else as it is."""
    if weight.view is None or weight.factor is None:
        return weight
    columns = columns_of(weight.values, weight.view, weight.factor.conditional_power)
    if columns is None:
        return weight
    tried = replace(weight, columns=columns)
    more = _BITS * columns.order.size
    return tried if _bits(tried) + more < _bits(weight) else weight


def _bits(weight: WeightOnGrid) -> float:
    """Return the bits at the first step, less those that a grid of a larger step would save at an error of one."""
    step = weight.first_step()
    integers = weight.integers(step)
    error = weight.output_error(weight.values_of(integers, step))
    return entropy_bits(integers) + weight.values.size * 0.5 * float(np.log2(max(error, 1e-300)))
