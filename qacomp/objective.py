"""What training minimises: the task's loss, a teacher's, and λ times the regularizer."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qacomp.layers import split_name
from qacomp.regularizers import Regularizer
from qacomp.sharing.straight_through import shadow


@dataclass(frozen=True)
class Objective:
    """loss = (1 − α)·CE + α·τ²·KL(teacher ∥ student) + r(t)·Σ_layers λ_layer · mean penalty.

    `penalties` and `strengths` map a weight's name (`conv1.weight`) to its layer's regularizer and λ. r(t) rises
    linearly from 0 to 1 over the first `warmup` (fraction) of the steps. `teacher` is in eval mode, its logits are
    constants.
    """

    penalties: Mapping[str, Regularizer] = field(default_factory=dict)
    strengths: Mapping[str, float] = field(default_factory=dict)
    warmup: float = 0.0
    teacher: nn.Module | None = None
    distill_weight: float = 0.5
    temperature: float = 2.0

    def task_loss(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        """Cross-entropy, mixed with the teacher's softened outputs where there is a teacher: scalar."""
        logits = model(x).float()  # (B, classes)
        loss = F.cross_entropy(logits, y)
        if self.teacher is None:
            return loss
        with torch.no_grad():
            target = F.log_softmax(self.teacher(x).float() / self.temperature, dim=1)  # (B, classes)
        student = F.log_softmax(logits / self.temperature, dim=1)  # (B, classes)
        softened = F.kl_div(student, target, reduction="batchmean", log_target=True) * self.temperature**2
        return (1 - self.distill_weight) * loss + self.distill_weight * softened

    def penalty(self, model: nn.Module) -> tuple[Tensor, Tensor]:
        """Σ λ·mean penalty, which is minimised, and R(W) = Σ mean penalty, which is reported: two scalars."""
        active = [name for name in self.penalties if self.strengths[name] > 0]
        if not active:
            return torch.zeros(()), torch.zeros(())
        weights = [shadow(*split_name(model, name)) for name in active]
        terms = torch.stack([self.penalties[n](w) for n, w in zip(active, weights, strict=True)])  # (L,)
        return terms @ terms.new_tensor([self.strengths[name] for name in active]), terms.detach().sum()

    def ramp(self, progress: float) -> float:
        """r(t) when the fraction `progress` of the steps is done."""
        return 1.0 if self.warmup <= 0 else min(1.0, progress / self.warmup)
