"""Find the step at which a weight takes given bits, so that two ways of rounding it are compared at equal bytes."""

import math

from qacomp.rate.grid_form import entropy_bits
from qacomp.rate.steps import WeightOnGrid

STEP_BITS = 12
"""Bits of an input's own step in a file, about: a byte and a half."""
_TRIALS = 8
_NEAR = 0.005  # of the bits: nearer than the estimate by entropy is to the bytes of a file


def bits_at(weight: WeightOnGrid, step: float) -> float:
    """Return the bits of a weight at a step: the entropy of its integers, and its inputs' own steps."""
    columns = weight.columns_at(step)
    return entropy_bits(weight.integers(step)) + (0 if columns is None else STEP_BITS * columns.order.size)


def step_of_bits(weight: WeightOnGrid, bits: float, start: float) -> float:
    """Return a step at which the weight takes `bits`, to half a per cent, or the nearest of eight that are tried.

    start: the first step tried. On a fine grid a step doubled saves a bit for each weight; the next slopes are those
    that were found.
    """
    point, slope = math.log2(start), -float(max(1, weight.values.size))
    best, off = start, math.inf
    before: tuple[float, float] | None = None
    for _ in range(_TRIALS):
        found = bits_at(weight, 2.0**point)
        if abs(found - bits) < off:
            best, off = 2.0**point, abs(found - bits)
        if off <= _NEAR * bits:
            break
        if before is not None and (found - before[1]) * (point - before[0]) < 0:
            slope = (found - before[1]) / (point - before[0])
        before = point, found
        point += min(max((bits - found) / slope, -1.0), 1.0)
    return best
