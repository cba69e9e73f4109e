"""Losses of one student: from the labels, from a teacher, and from both (Ozerov and Duong, 2021, eqs. 1 to 4).

Equation (2) as printed has the student's distribution first; here it is KL(teacher ∥ student), as in knowledge
distillation and in the soft cross-entropy that the paper allows instead. A teacher's logits are constants.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from qacomp.batches.outputs import main_output
from qacomp.training.class_rows import class_rows
from qacomp.training.distillation_losses import distillation_loss


def cross_entropy(student: Tensor, y: Tensor) -> Tensor:
    """Return eq. (1), averaged over the batch: student (B, classes) logits, y (B,) int64 -> scalar float32."""
    return F.cross_entropy(student.float(), y)


Criterion = Callable[[Any, Any], Tensor]
"""(what a network returned, targets) -> the loss of the task, a scalar; eq. (1) for class labels."""


def supervised(logits: Sequence[Tensor], y: Tensor) -> Tensor:
    """Return eq. (4), the sum of the cross-entropies of all sub-models: scalar float32."""
    return torch.stack([cross_entropy(student, y) for student in logits]).sum()


@dataclass(frozen=True)
class Lesson:
    """How a student learns from a teacher.

    weight: λ, 0 .. 1; temperature: τ; divergence: a registered loss (see `qacomp.training.distillation_losses`), or
    auto: KL for class scores, the squared error for other outputs. criterion: the loss of the task.
    """

    weight: float
    temperature: float
    divergence: str = "kl"
    criterion: Criterion = cross_entropy

    def supervised(self, outputs: Sequence[Any], y: Any) -> Tensor:
        """Return eq. (4), the sum of the task losses of all sub-models: scalar float32."""
        return torch.stack([self.criterion(student, y) for student in outputs]).sum()

    def distance(self, student: Any, teacher: Any, y: Any = None) -> Tensor:
        """Return eq. (2), τ²·KL(softmax(teacher/τ) ∥ softmax(student/τ)), or another distance: scalar float32.

        The result is averaged over the batch, and over positions if there are any. student, teacher: what the networks
        returned; no gradient passes to the teacher's. y: targets, which tell class scores from other outputs; None:
        rows are class scores. Raises ConfigError for an unknown divergence.
        """
        found, wanted = main_output(student), main_output(teacher).detach().float()
        if y is None:
            rows = (found, wanted) if found.ndim == 2 else None
        else:
            both = class_rows(found, y), class_rows(wanted, y)
            rows = None if both[0] is None or both[1] is None else (both[0][0], both[1][0])
        name = ("squared" if rows is None else "kl") if self.divergence == "auto" else self.divergence
        return distillation_loss(name)(*(rows or (found, wanted)), self.temperature)

    def taught(self, student: Any, teachers: Sequence[Any], y: Any) -> Tensor:
        """Return the mean over the teachers of eq. (3), (1 − λ)·L + λ·KD: scalar float32.

        student, and each of the teachers: what the networks returned; y: targets.
        """
        learned = torch.stack([self.distance(student, teacher, y) for teacher in teachers]).mean()
        return (1 - self.weight) * self.criterion(student, y) + self.weight * learned

    def passed_down(self, logits: Sequence[Any], y: Any, teachers: Sequence[Sequence[int]]) -> Tensor:
        """Return the loss of the largest sub-model plus `taught` for each other one: scalar float32.

        logits: outputs of each sub-model, smallest first; teachers: for each but the largest, the numbers of the
        larger sub-models that teach it.
        """
        terms = [self.criterion(logits[-1], y)]
        for student, numbers in zip(logits[:-1], teachers, strict=True):
            terms.append(self.taught(student, [logits[j] for j in numbers], y))
        return torch.stack(terms).sum()
