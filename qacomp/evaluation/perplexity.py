"""Perplexity: e to the power of the mean cross-entropy of the labels in nats, such as those of next tokens."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

_ROWS = 4096  # whose exponentials are held at once


def cross_entropies(scores: NDArray[Any], labels: NDArray[Any]) -> NDArray[np.float64]:
    """Return −log softmax(scores)[label] for each row, (rows,): of scores (rows, classes), NaN where a score is NaN."""
    found = np.empty(len(labels))
    for start in range(0, len(labels), _ROWS):
        rows = scores[start : start + _ROWS].astype(np.float64)
        rows -= rows.max(axis=1, keepdims=True)
        own = np.take_along_axis(rows, labels[start : start + _ROWS, None].astype(np.int64), 1)[:, 0]
        found[start : start + _ROWS] = np.log(np.exp(rows).sum(axis=1)) - own
    return found


def perplexity(total: float, count: int) -> float:
    """Return e^(total / count), infinite where that is beyond a double; NaN for NaN."""
    with np.errstate(over="ignore"):
        return float(np.exp(total / count))
