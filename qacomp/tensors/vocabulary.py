"""Tell which words of a vocabulary occur in text, and how often, from the table of their vectors alone.

Reserved and unused tokens keep the small values they started with. Half of a sequence of ids that are drawn by rank
alone can be such rows (BERT's vocabulary reserves its first thousand), and what a model does with them says nothing
about text.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qacomp.formats import BFLOAT16, bfloat16_to_float32

_SHORT = 0.5  # of the median row's length: BERT's unused rows have 0.4, its rarest words 0.7
_HEAD = 10  # word n is drawn with a probability in proportion to 1 / (n + 10), about as words occur in text


def trained_rows(table: NDArray[Any]) -> NDArray[np.intp] | None:
    """Return the numbers of the rows of a table (words, width) that look trained, ascending.

    None if all rows do, or if the table isn't one of finite floats.
    """
    wide = bfloat16_to_float32(table) if table.dtype == BFLOAT16 else table
    if wide.ndim != 2 or wide.dtype.kind != "f":
        return None
    lengths = np.sqrt(np.einsum("ij,ij->i", wide, wide, dtype=np.float64))
    long = lengths >= _SHORT * np.median(lengths)
    return None if long.all() or not np.isfinite(lengths).all() else np.flatnonzero(long)


def drawn_words(words: NDArray[np.intp], shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw ids of this shape out of `words`, which are in the order of their frequency, the most frequent first."""
    return rng.choice(words, size=shape, p=chances_of(words.size)).astype(np.int64)


def chances_of(count: int) -> NDArray[np.float64]:
    """Return the probabilities (count,) of words in the order of their frequency, about as they occur in text."""
    chances = 1 / (np.arange(count) + _HEAD)
    found: NDArray[np.float64] = chances / chances.sum()
    return found
