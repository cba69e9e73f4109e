"""Losses of one student: from the labels, from a teacher, and from both (Ozerov and Duong, 2021, eqs. 1 to 4).

Equation (2) as printed has the student's distribution first; here it is KL(teacher ∥ student), as in knowledge
distillation and in the soft cross-entropy that the paper allows instead. A teacher's logits are constants.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from qacomp.training.distillation_losses import distillation_loss


def cross_entropy(student: Tensor, y: Tensor) -> Tensor:
    """Return eq. (1), averaged over the batch: student (B, classes) logits, y (B,) int64 -> scalar float32."""
    return F.cross_entropy(student.float(), y)


def supervised(logits: Sequence[Tensor], y: Tensor) -> Tensor:
    """Return eq. (4), the sum of the cross-entropies of all sub-models: scalar float32."""
    return torch.stack([cross_entropy(student, y) for student in logits]).sum()


@dataclass(frozen=True)
class Lesson:
    """How a student learns from a teacher.

    weight: λ, 0 .. 1; temperature: τ; divergence: a registered loss (see `qacomp.training.distillation_losses`).
    """

    weight: float
    temperature: float
    divergence: str = "kl"

    def distance(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return eq. (2), τ²·KL(softmax(teacher/τ) ∥ softmax(student/τ)), or another distance: scalar float32.

        The result is averaged over the batch. student, teacher: (B, classes) logits; no gradient passes to the
        teacher's. Raises ConfigError for an unknown divergence.
        """
        return distillation_loss(self.divergence)(student, teacher.detach().float(), self.temperature)

    def taught(self, student: Tensor, teachers: Sequence[Tensor], y: Tensor) -> Tensor:
        """Return the mean over the teachers of eq. (3), (1 − λ)·CE + λ·KD: scalar float32.

        student, and each of the teachers: (B, classes) logits; y: (B,) int64.
        """
        learned = torch.stack([self.distance(student, teacher) for teacher in teachers]).mean()
        return (1 - self.weight) * cross_entropy(student, y) + self.weight * learned

    def passed_down(self, logits: Sequence[Tensor], y: Tensor, teachers: Sequence[Sequence[int]]) -> Tensor:
        """Return the CE of the largest sub-model plus `taught` for each other one: scalar float32.

        logits: (B, classes) of each sub-model, smallest first; teachers: for each but the largest, the numbers of the
        larger sub-models that teach it.
        """
        terms = [cross_entropy(logits[-1], y)]
        for student, numbers in zip(logits[:-1], teachers, strict=True):
            terms.append(self.taught(student, [logits[j] for j in numbers], y))
        return torch.stack(terms).sum()
