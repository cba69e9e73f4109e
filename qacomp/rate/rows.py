"""Steps for the rows of an embedding: finer for words that occur often.

The error of a word's vector is met as often as the word occurs. Vocabularies are more or less in the order of
frequency, and words occur about as 1 / (rank + 10). If an error moved outputs alike in all words, steps ∝ p^−½ would be
best. A rare word says more about its sentence, so steps differ less than that.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qacomp.formats import SharedTensor
from qacomp.rate.columns import Columns, has_room
from qacomp.tensors.vocabulary import chances_of, trained_rows

_POWER = 0.3  # steps ∝ p^−0.3: least error of sentences at equal bytes on MiniLM; 0.25 and 0.37 are as good within 1 %
_BLOCK = 16  # rows with one step
PARTS = 16
"""Parts of a vocabulary in each of which the words' steps differ little: their entropies are summed."""
_LEAST = 1024  # rows of a vocabulary: smaller tables have other things in their rows, or too few to save anything


@dataclass(frozen=True)
class RowSteps:
    """The steps of a table's rows, `block` of which share one. own: of each block, as steps of inputs are held."""

    own: Columns
    rows: int
    block: int = _BLOCK

    def fit(self, step: float) -> bool:
        """Return whether nearly all rows have the steps that they should have; see `Columns.fit`."""
        return self.own.fit(step)

    def spread(self, step: float) -> NDArray[np.float64]:
        """Return the step of each row, (rows, 1)."""
        return np.repeat(self.own.steps(step)[0], self.block)[: self.rows, None]

    @property
    def count(self) -> int:
        """Return the number of steps that a file holds."""
        return self.own.count

    def grid_tensor(self, integers: NDArray[np.integer], step: float) -> SharedTensor:
        """Return the shared tensor, float32, of integers (rows, width), all within the farthest that steps allow."""
        return self.own.grid_tensor(integers, step)


def rows_of(values: NDArray[np.floating]) -> RowSteps | None:
    """Return the steps of the rows of a vocabulary's table (words, width), by their ranks; None for another tensor.

    Rows that don't look trained have no rank, and the coarsest step.
    """
    if values.ndim != 2 or len(values) < _LEAST or not has_room(values):
        return None
    words = trained_rows(values)
    chances = np.zeros(len(values))
    known = np.arange(len(values)) if words is None else words
    chances[known] = chances_of(known.size)
    chances[chances == 0] = chances[known].min() if known.size else 1.0
    starts = np.arange(0, len(values), _BLOCK)
    means = np.add.reduceat(chances, starts) / np.diff([*starts, len(values)])
    ratios = means**-_POWER
    return _row_steps(values, ratios / np.exp(np.log(ratios).mean()), _BLOCK)


def rows_of_base(
    values: NDArray[np.floating], block: int, books: NDArray[np.floating]
) -> tuple[RowSteps, float] | None:
    """Return the steps that a base's rows have, and the weight's step at which they are those; None without a grid.

    block, books: the rows that share a codebook, and the codebooks (parts, K).
    """
    zeros = np.flatnonzero((books == 0).all(axis=0))
    if not has_room(values) or zeros.size != 1 or zeros[0] + 1 == books.shape[1]:
        return None
    steps = books[:, zeros[0] + 1].astype(np.float64)
    grid = (np.arange(books.shape[1]) - zeros[0]) * steps[:, None]
    if not (steps > 0).all() or not np.array_equal(grid.astype(np.float32), books):
        return None
    unit = float(np.exp2(np.rint(np.log2(steps).mean())))  # a power of two, so that ratios times it are exact
    return _row_steps(values, steps / unit, block), unit


def _row_steps(values: NDArray[np.floating], ratios: NDArray[np.float64], block: int) -> RowSteps:
    largest = np.maximum.reduceat(np.abs(values).max(axis=1), np.arange(0, len(values), block)).astype(np.float64)
    own = Columns(ratios[None], largest[None], (block, values.shape[1]), np.arange(ratios.size))
    return RowSteps(own, len(values), block)
