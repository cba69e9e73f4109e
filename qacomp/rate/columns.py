"""A step for each input of an operator: finer where an error of its weights moves the outputs more.

The error of compensated rounding is the sum over the inputs of squared errors × conditional variance. At a given
number of bits it is smallest with steps ∝ (conditional variance)^−½, the idea of WaterSIC. A container holds such a
grid as codebooks in blocks: each input has its own one, of which the codec `grids` stores a scale.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qacomp.formats import SharedTensor
from qacomp.rate.matrices import View

FARTHEST = 127
"""The largest integer of a weight: its codebooks have at most 256 values, so that a scale can stand for each."""
_LEAST_ROOM = 1.25  # of the farthest value, since compensation moves weights
_MOST_COARSER = 0.1  # bits that the mean input may lose to its coarser step
_SIGNIFICANT = 4  # bits of a step, so that all its multiples are exact: the integers have 7, float32 has 24
_SMALLEST, _LARGEST = 2.0**-60, 2.0**60  # of a weight's values, far from the ends of float32


@dataclass(frozen=True)
class Columns:
    """The steps of a weight's inputs. ratios: (groups, n), of each step to the weight's own.

    largest: (groups, n), the largest absolute value of an input's weights; blocks: the weight's block shape, in which
    each input has a codebook; order: (groups · n,) the number of the input that each codebook belongs to.
    """

    ratios: NDArray[np.float64]
    largest: NDArray[np.float64]
    blocks: tuple[int, ...]
    order: NDArray[np.intp]

    def fit(self, step: float) -> bool:
        """Return whether nearly all inputs have the steps that they should have, with no more levels than there are."""
        coarser = np.log2(np.maximum(self._least / (step * self.ratios), 1.0))
        return float(coarser.mean()) < _MOST_COARSER

    @property
    def _least(self) -> NDArray[np.float64]:
        """Return the finest steps, at which the farthest weights take all levels."""
        return self.largest * (_LEAST_ROOM / FARTHEST)

    @property
    def count(self) -> int:
        """Return the number of steps that a file holds."""
        return self.order.size

    def steps(self, step: float) -> NDArray[np.float64]:
        """Return (groups, n) steps of few bits; none so fine that the weights would need too many levels."""
        wanted = np.maximum(step * self.ratios, self._least)
        significand, exponent = np.frexp(wanted)
        rounded: NDArray[np.float64] = np.ldexp(np.ceil(np.ldexp(significand, _SIGNIFICANT)), exponent - _SIGNIFICANT)
        return rounded

    def grid_tensor(self, integers: NDArray[np.integer], step: float) -> SharedTensor:
        """Return the shared tensor, float32, of integers in the weight's shape; all within ±FARTHEST."""
        low, high = min(int(integers.min()), 0), max(int(integers.max()), 1)
        scales = self.steps(step).reshape(-1)[self.order].astype(np.float32)
        counts = [-(-size // block) for size, block in zip(integers.shape, self.blocks, strict=True)]
        books = np.arange(low, high + 1, dtype=np.float32) * scales[:, None]
        return SharedTensor(books.reshape(*counts, -1), (integers - low).astype(np.uint8), (), self.blocks)


def has_room(values: NDArray[np.floating]) -> bool:
    """Return whether all multiples of fine steps of these values are exact in float32; False for other types."""
    return values.dtype == np.float32 and _SMALLEST < float(np.abs(values).max(initial=0.0)) < _LARGEST


def columns_of(values: NDArray[np.floating], view: View, power: NDArray[np.float64]) -> Columns | None:
    """Return the inputs' steps of a float32 weight, or None where its inputs don't lie along whole axes.

    power: (groups, n), of each input what the later ones don't predict.
    """
    if not has_room(values):
        return None
    largest = np.abs(view.matrices(values)).max(axis=1).astype(np.float64)  # (groups, n)
    numbers = np.arange(power.size).reshape(power.shape[0], 1, -1)
    own = np.broadcast_to(numbers, view.matrices(values).shape)
    places = view.tensor(np.ascontiguousarray(own), values.shape)  # the number of each value's input
    blocks = []
    for axis, size in enumerate(values.shape):
        same = bool((places == places.take([0], axis)).all())
        blocks.append(size if same else 1)
        places = places.take([0], axis) if same else places
    order = places.reshape(-1)
    if order.size != power.size or math.prod(blocks) * order.size != values.size:
        return None
    ratios = power**-0.5
    return Columns(ratios / np.exp(np.log(ratios).mean()), largest, tuple(blocks), order)
