"""Soft cross-entropy: KL plus the teacher's entropy, which is constant; so it has the same gradient as KL."""

import torch.nn.functional as F
from torch import Tensor

from qacomp.training.distillation_losses.registry import register_distillation_loss


@register_distillation_loss("cross-entropy")
def cross_entropy(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return −τ²·Σ softmax(teacher/τ)·log softmax(student/τ), the mean over the batch: scalar float32."""
    target = F.log_softmax(teacher / temperature, dim=1)  # (B, classes)
    log_student = F.log_softmax(student.float() / temperature, dim=1)  # (B, classes)
    distance: Tensor = -(target.exp() * log_student).sum(dim=1).mean()
    return temperature**2 * distance
