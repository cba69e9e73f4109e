"""Distances between a student's logits and a teacher's, a file each: every file here registers its own."""

from qacomp.training.distillation_losses.registry import (
    DISTILLATION_LOSSES,
    DistillationLoss,
    distillation_loss,
    list_distillation_losses,
    register_distillation_loss,
)

__all__ = [
    "DISTILLATION_LOSSES",
    "DistillationLoss",
    "distillation_loss",
    "list_distillation_losses",
    "register_distillation_loss",
]
