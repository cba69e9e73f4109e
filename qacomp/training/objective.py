"""What training minimises: the task's loss, teachers', and λ times the regularizer."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from qacomp.errors import ConfigError
from qacomp.models.flexible import FlexibleModel
from qacomp.training.distillation import flexible_loss, guided_loss, taught
from qacomp.training.regularizers import Regularizer, StrengthSchedule, accumulate_penalties


@dataclass(frozen=True)
class Objective:
    """loss = (1 − α)·CE + α·τ²·KL(teacher ∥ student) + r(t)·Σ_layers λ_layer · mean penalty.

    `penalties` maps a weight's name (`conv1.weight`) to its layer's regularizer, whose strength is the layer's
    λ; r(t) is the `schedule`; `masks`: of pruned weights, False where they stay zero. `teacher` is in
    eval mode, its logits are constants. A flexible model's loss is the sum over its sub-models; without a teacher
    outside it they teach each other by `strategy` (see qacomp.training.distillation), with the same α and τ.
    distill_loss: the registered distance that stands for τ²·KL.
    """

    penalties: Mapping[str, Regularizer] = field(default_factory=dict)
    schedule: StrengthSchedule = field(default_factory=StrengthSchedule)
    teacher: nn.Module | None = None
    distill_weight: float = 0.5
    temperature: float = 2.0
    strategy: str = "none"
    masks: Mapping[str, Tensor] = field(default_factory=dict)
    distill_loss: str = "kl"

    def modules(self) -> nn.ModuleDict:
        """Return what learns or searches beside the network, for resuming."""
        return nn.ModuleDict({name.replace(".", "/"): p for name, p in self.penalties.items()})

    def task_loss(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        """Return the cross-entropy, mixed with the teachers' softened outputs where there are any: scalar."""
        students = model.forward_all(x) if isinstance(model, FlexibleModel) else [model(x)]  # (B, classes) each
        if not all(isinstance(student, Tensor) for student in students):
            raise ConfigError(
                f"in training mode the network gives a {type(students[0]).__name__}, not class scores: switch its "
                "other outputs off, or train nothing (--reg none --tune-epochs 0)"
            )
        how = self.distill_weight, self.temperature, self.distill_loss
        if self.teacher is None:
            return flexible_loss(self.strategy, students, y, *how)
        with torch.no_grad():
            target = self.teacher(x)  # (B, classes)
        if self.strategy != "none":
            return guided_loss(self.strategy, students, target, y, *how)
        return torch.stack([taught(student, target, y, *how) for student in students]).sum()

    def add_penalty_gradients(self, model: nn.Module, progress: float) -> Tensor:
        """Add r(t)·λ·∂R's gradients to the weights' and representatives' `.grad`, after the task loss's backward.

        `progress`: the fraction of the steps that is done. Returns Σ_layers λ_layer · mean penalty: detached scalar.
        """
        active = {name: p for name, p in self.penalties.items() if p.strength > 0}
        if not active:
            return torch.zeros(())
        return accumulate_penalties(model, active, self.schedule(progress), self.masks)
