"""The registry of distillation losses, a decorated function each."""

from collections.abc import Callable
from typing import TypeAlias

from torch import Tensor

from qacomp.options.registry import Registry

DistillationLoss: TypeAlias = Callable[[Tensor, Tensor, float], Tensor]
"""(student, teacher, temperature) -> scalar float32."""
DISTILLATION_LOSSES: Registry[DistillationLoss] = Registry(
    "distillation loss", "qacomp.training.distillation_losses", "qacomp.distillation"
)


def register_distillation_loss(name: str) -> Callable[[DistillationLoss], DistillationLoss]:
    """Register `def loss(student, teacher, temperature) -> Tensor` for `--distill METHOD:loss=NAME`.

    student, teacher: (B, classes) logits, the teacher's float32 and without gradient. The loss is a mean over the
    batch, differentiable in the student's logits, and has its minimum where student and teacher are equal.
    """
    return lambda loss: DISTILLATION_LOSSES.add(name, loss)


def distillation_loss(name: str) -> DistillationLoss:
    """Return the loss registered as `name`. Raise ConfigError, which lists the known ones."""
    return DISTILLATION_LOSSES.find(name)


def list_distillation_losses() -> list[str]:
    """Return the names of all distillation losses."""
    return DISTILLATION_LOSSES.names()
