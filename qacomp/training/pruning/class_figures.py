"""Measure a classifier as in EPruning's table 1: loss and top-1, top-3, top-5 accuracy on the test split."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from qacomp.evaluation.accuracy import topk_accuracy, torch_logits
from qacomp.training.setup import TrainingSetup

_BATCH = 256


@dataclass(frozen=True)
class ClassFigures:
    """Mean cross-entropy, and top-1, top-3 and top-5 accuracy in percent."""

    loss: float
    top1: float
    top3: float
    top5: float


def class_figures(model: nn.Module, setup: TrainingSetup) -> ClassFigures:
    """Return the figures of `model` on the test split, in eval mode. Raises DataError and NonFiniteWeightsError."""
    test = setup.dataset.test
    x = setup.preprocessing.apply(test.x)  # (N, C, H, W)
    logits = torch_logits(model, x, batch_size=_BATCH, device=setup.device)  # (N, classes)
    loss = F.cross_entropy(torch.from_numpy(logits), torch.from_numpy(test.y))
    return ClassFigures(float(loss), *(topk_accuracy(logits, test.y, k) for k in (1, 3, 5)))
