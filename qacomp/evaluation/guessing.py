"""Find out whether a network does better than guessing, so that no drop is counted from an untrained one."""

import math

import numpy as np
from torch import Tensor

from qacomp.batches.examples import Batches
from qacomp.evaluation.metric import MSE, Metric

_ERRORS, _INDEPENDENT = 2.0, 100
"""An untrained network gives a few classes to all examples, so its accuracy varies more than that of random guesses: by
two standard errors of so many of them, whatever the number of examples."""
_LEAST = 20  # labels; with fewer any accuracy may be chance


def no_better(metric: Metric, test: Batches, value: float) -> str | None:
    """Return in words what guessing gives, if a network's `value` of the metric is no better; else None.

    Classifiers are compared with the most common class, the mean squared error with that of the targets' mean. None for
    other metrics: what guessing gives isn't known there.
    """
    if metric.percent:
        chance = guessing(test, value)
        return None if chance is None else f"no better than guessing ({chance:.1f} %)"
    if metric is not MSE:
        return None
    spread = _spread(test)
    return f"no better than the targets' mean (mse {spread:.4g})" if spread is not None and value >= spread else None


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


def _spread(test: Batches) -> float | None:
    """Return the mean squared error of the best constant: the targets' mean, of each value of an example."""
    count, total, squares = 0, np.zeros(()), np.zeros(())
    for batch in test.in_order(1024):
        if not isinstance(batch.y, Tensor) or not batch.y.is_floating_point():
            return None
        values = batch.y.cpu().numpy().astype(np.float64)
        if count and values.shape[1:] != total.shape:
            return None
        count, total, squares = count + len(values), total + values.sum(0), squares + (values**2).sum(0)
    return float((squares / count - (total / count) ** 2).mean()) if count >= _LEAST else None
