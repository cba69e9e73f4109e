"""Distances between a student's and a teacher's logits, one file each; every file here registers its own loss."""

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
