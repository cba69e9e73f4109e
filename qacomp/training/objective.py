"""The training objective: task loss, distillation loss, and λ times the regularizer."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from qacomp.batches.feed import Feed, called
from qacomp.evaluation.on_batches import Forward
from qacomp.models.flexible import FlexibleModel
from qacomp.training.distillation import flexible_loss, guided_loss
from qacomp.training.regularizers import Regularizer, Schedule, accumulate_penalties
from qacomp.training.teaching import Lesson


@dataclass(frozen=True)
class Objective:
    """loss = (1 − α)·L + α·τ²·KL(teacher ∥ student) + r(t)·Σ_layers λ_layer · mean penalty.

    penalties: weight name (`conv1.weight`) -> its layer's regularizer, whose strength is the layer's λ; schedule: r(t);
    masks: weight name -> mask of a pruned weight, False where it stays zero. teacher: a network in eval mode, whose
    outputs are constants; lesson: the task loss L, α, τ and the registered distance in place of τ²·KL. A flexible
    model's loss is the sum over its sub-models; if `strategy` isn't none, they teach each other as it says (see
    `qacomp.training.teaching`), with the same lesson.
    """

    penalties: Mapping[str, Regularizer] = field(default_factory=dict)
    schedule: Schedule = lambda progress: 1.0
    teacher: nn.Module | None = None
    lesson: Lesson = field(default_factory=lambda: Lesson(0.5, 2.0))
    strategy: str = "none"
    masks: Mapping[str, Tensor] = field(default_factory=dict)

    @cached_property
    def _teach(self) -> Forward:
        """Call the teacher, which may take another layout of images than the student."""
        assert self.teacher is not None
        return Forward(self.teacher)

    def modules(self) -> nn.ModuleDict:
        """Return the regularizers as one module, so that their state can be saved for resuming."""
        return nn.ModuleDict({name.replace(".", "/"): p for name, p in self.penalties.items()})

    def task_loss(self, model: nn.Module, x: Feed, y: Any) -> Tensor:
        """Return the loss of the task, mixed with the distillation loss if there are teachers: scalar.

        Raises ConfigError if the loss can't be computed of the network's outputs and the targets y.
        """
        students = model.forward_all(x) if isinstance(model, FlexibleModel) else [called(model, x)]
        if self.teacher is None:
            return flexible_loss(self.strategy, students, y, self.lesson)
        with torch.no_grad():
            target = self._teach(x)
        if self.strategy != "none":
            return guided_loss(self.strategy, students, target, y, self.lesson)
        return torch.stack([self.lesson.taught(student, [target], y) for student in students]).sum()

    def add_penalty_gradients(self, model: nn.Module, progress: float) -> Tensor:
        """Add the gradients of r(t)·λ·R to `.grad` of weights and representatives, after the task loss's backward.

        progress: fraction of the stage's steps done so far. Returns Σ_layers λ_layer · mean penalty: detached scalar.
        """
        active = {name: p for name, p in self.penalties.items() if p.strength > 0}
        if not active:
            return torch.zeros(())
        return accumulate_penalties(model, active, self.schedule(progress), self.masks)
