"""How much of a metric was lost between two models on the same samples, and how exactly the samples tell it.

Both models see the same samples, so only samples on which they differ add noise to the difference.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qacomp.errors import DataError
from qacomp.evaluation.accuracy import top1_right
from qacomp.evaluation.metrics import evaluate, lost, more_is_better

GROUPS = 16
"""Groups of samples, whose losses give the standard error of a metric that isn't a mean over rows."""
_LEAST = 2  # samples in a group


@dataclass(frozen=True)
class Loss:
    """What a model lost of a metric, in points of accuracy or the metric's own unit; negative where it gained.

    error: the standard error of `lost`, None if it isn't known; samples: the number of samples.
    """

    metric: str
    lost: float
    error: float | None
    samples: int


def paired_loss(name: str, before: NDArray[Any], after: NDArray[Any], targets: NDArray[Any]) -> Loss:
    """Return the loss of a metric from outputs `before` to outputs `after`, (N, ...) both, against `targets` (N, ...).

    The standard error of a top-1 accuracy of N rows is √(rows that became right or wrong) / N, at least one of them; of
    any other metric it comes from the losses of 16 groups of samples. Raises MetricError if the metric doesn't fit.
    """
    higher = more_is_better(name)
    found = lost(name, evaluate(name, before, targets), evaluate(name, after, targets), higher)
    count = len(targets)
    if name == "accuracy" and before.ndim == after.ndim == 2 and targets.size == count:
        labels = targets.reshape(-1)
        moved = int((top1_right(before, labels) != top1_right(after, labels)).sum())
        return Loss(name, found, 100.0 * math.sqrt(max(1, moved)) / count, count)
    return Loss(name, found, _of_groups(name, before, after, targets), count)


def _of_groups(name: str, before: NDArray[Any], after: NDArray[Any], targets: NDArray[Any]) -> float | None:
    """Return the standard error of a loss from groups of samples; None for too few, or a metric that takes no part."""
    groups = min(GROUPS, len(targets) // _LEAST)
    if groups < 2 or not len(before) == len(after) == len(targets):
        return None
    parts = [np.arange(i, len(targets), groups) for i in range(groups)]
    try:
        losses = [
            lost(name, evaluate(name, before[p], targets[p]), evaluate(name, after[p], targets[p])) for p in parts
        ]
    except DataError:  # a metric may need samples of each class, for example
        return None
    return float(np.std(losses, ddof=1) / math.sqrt(groups))
