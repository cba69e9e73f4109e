"""What training minimises: the task's loss, a teacher's, and λ times the regularizer."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qacomp.regularizers import Regularizer, StrengthSchedule, accumulate_penalties


@dataclass(frozen=True)
class Objective:
    """loss = (1 − α)·CE + α·τ²·KL(teacher ∥ student) + r(t)·Σ_layers λ_layer · mean penalty.

    `penalties` maps a weight's name (`conv1.weight`) to its layer's regularizer, whose relative strength is the layer's
    λ; r(t) is the `schedule`. `teacher` is in eval mode, its logits are constants.
    """

    penalties: Mapping[str, Regularizer] = field(default_factory=dict)
    schedule: StrengthSchedule = field(default_factory=StrengthSchedule)
    teacher: nn.Module | None = None
    distill_weight: float = 0.5
    temperature: float = 2.0

    def modules(self) -> nn.ModuleDict:
        """What learns or searches beside the network, for resuming."""
        return nn.ModuleDict({name.replace(".", "/"): p for name, p in self.penalties.items()})

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

    def add_penalty_gradients(self, model: nn.Module, progress: float) -> Tensor:
        """Add r(t)·λ·∂R's gradients to the weights' and representatives' `.grad`, after the task loss's backward.

        `progress`: the fraction of the steps that is done. Returns Σ_layers λ_layer · mean penalty: detached scalar.
        """
        active = {name: p for name, p in self.penalties.items() if p.options.relative_strength > 0}
        return accumulate_penalties(model, active, self.schedule(progress)) if active else torch.zeros(())
