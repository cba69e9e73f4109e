"""Find out whether a classifier does better than guessing, so that no drop is counted from an untrained network."""

import math

import numpy as np
from torch import Tensor

from qacomp.batches.examples import Batches

_ERRORS, _INDEPENDENT = 2.0, 100
"""An untrained network gives a few classes to all examples, so its accuracy varies more than that of random guesses: by
two standard errors of so many of them, whatever the number of examples."""
_LEAST = 20  # labels; with fewer any accuracy may be chance


def guessing(test: Batches, accuracy: float) -> float | None:
    """Return what guessing the most common class gives, in percent, if `accuracy` is no better; None if it is.

    test: examples with integer labels. None also for too few labels, for one class, and for other targets.
    """
    labels = [batch.y for batch in test.in_order(1024)]
    if not all(isinstance(y, Tensor) and not y.is_floating_point() and y.numel() for y in labels):
        return None
    values = np.concatenate([y.reshape(-1).cpu().numpy() for y in labels])
    counts = np.unique(values[values >= 0], return_counts=True)[1]
    if counts.size < 2 or counts.sum() < _LEAST:
        return None
    share = float(counts.max() / counts.sum())
    error = math.sqrt(share * (1 - share) / min(_INDEPENDENT, int(counts.sum())))
    return 100 * share if accuracy <= 100 * (share + _ERRORS * error) else None
