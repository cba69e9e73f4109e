"""How alike two sets of embeddings of the same samples are: whether the same samples are near each other in both."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

_MOST = 2048  # samples whose similarities are compared: 2 million pairs


def similarity(one: NDArray[Any], other: NDArray[Any]) -> float:
    """Return Spearman's rank correlation of the cosines of all pairs of rows, of (N, d) and (N, e), in −1 … 1.

    Of more than 2,048 rows evenly spread ones are taken. NaN for fewer than three rows, or values that are no numbers.
    """
    taken = np.unique(np.linspace(0, max(0, len(one) - 1), min(len(one), _MOST)).round().astype(int))
    pairs = np.triu_indices(len(taken), 1)
    cosines = [_cosines(vectors[taken])[pairs] for vectors in (one, other)]
    if len(taken) < 3 or not all(np.isfinite(found).all() for found in cosines):
        return float("nan")
    ranks = [_ranks(found) for found in cosines]
    spread = [float(np.sqrt(((r - r.mean()) ** 2).sum())) for r in ranks]
    if not all(spread):
        return float("nan")
    return float(((ranks[0] - ranks[0].mean()) * (ranks[1] - ranks[1].mean())).sum() / (spread[0] * spread[1]))


def _cosines(vectors: NDArray[Any]) -> NDArray[np.float64]:
    wide = vectors.reshape(len(vectors), -1).astype(np.float64)
    unit = wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), 1e-300)
    found: NDArray[np.float64] = unit @ unit.T
    return found


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the ranks of values, from 0; equal values share the mean of theirs."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    first = np.cumsum(counts) - counts
    found: NDArray[np.float64] = (first + (counts - 1) / 2)[places]
    return found
