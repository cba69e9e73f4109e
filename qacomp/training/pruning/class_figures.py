"""Measure a classifier as in EPruning's table 1: loss and top-1, top-3, top-5 accuracy on the test split."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from qacomp.evaluation.accuracy import topk_accuracy
from qacomp.evaluation.held_outputs import MAIN, outputs_over
from qacomp.training.setup import TrainingSetup


@dataclass(frozen=True)
class ClassFigures:
    """Mean cross-entropy, and top-1, top-3 and top-5 accuracy in percent."""

    loss: float
    top1: float
    top3: float
    top5: float


def class_figures(model: nn.Module, setup: TrainingSetup) -> ClassFigures | None:
    """Return the figures of `model` on the test split, in eval mode; None unless it gives class scores (N, classes).

    Raises DataError and NonFiniteWeightsError.
    """
    if not setup.task.metric.percent:
        return None
    found = outputs_over(model, setup.examples.test, setup.device)
    logits, labels = found.runs[0][MAIN], found.labels  # (N, classes), (N,)
    if labels is None or labels.ndim != 1 or logits.ndim != 2 or (labels < 0).any():
        return None
    loss = F.cross_entropy(torch.from_numpy(logits), torch.from_numpy(labels))
    return ClassFigures(float(loss), *(topk_accuracy(logits, labels, k) for k in (1, 3, 5)))
