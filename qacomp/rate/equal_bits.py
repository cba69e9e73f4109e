"""Find the step at which a weight takes given bits, so that two ways of rounding it are compared at equal bytes."""

import math

import numpy as np

from qacomp.rate.grid_form import entropy_bits
from qacomp.rate.steps import WeightOnGrid

STEP_BITS = 12
"""Bits of an input's own step in a file, about: a byte and a half."""
_TRIALS = 8
_NEAR = 0.005  # of the bits: nearer than the estimate by entropy is to the bytes of a file


def bits_at(weight: WeightOnGrid, step: float, parts: int = 1) -> float:
    """Return the bits of a weight at a step: the entropy of its integers, and its inputs' or rows' own steps.

    parts: of the rows, whose entropies are summed, since codecs follow how values change from row to row.
    """
    own = weight.columns_at(step) or weight.rows_at(step)
    integers = np.array_split(weight.integers(step), parts)
    return sum(map(entropy_bits, integers)) + (0 if own is None else STEP_BITS * own.count)


def step_of_bits(weight: WeightOnGrid, bits: float, start: float, parts: int = 1) -> float:
    """Return a step at which the weight takes `bits`, to half a per cent, or the nearest of eight that are tried.

    start: the first step tried; parts: see `bits_at`. On a fine grid a step doubled saves a bit for each weight; the
    next slopes are those that were found.
    """
    point, slope = math.log2(start), -float(max(1, weight.values.size))
    best, off = start, math.inf
    before: tuple[float, float] | None = None
    for _ in range(_TRIALS):
        found = bits_at(weight, 2.0**point, parts)
        if abs(found - bits) < off:
            best, off = 2.0**point, abs(found - bits)
        if off <= _NEAR * bits:
            break
        if before is not None and (found - before[1]) * (point - before[0]) < 0:
            slope = (found - before[1]) / (point - before[0])
        before = point, found
        point += min(max((bits - found) / slope, -1.0), 1.0)
    return best
