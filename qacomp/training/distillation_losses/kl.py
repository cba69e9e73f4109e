"""Hinton's distillation: τ²·KL(teacher ∥ student) of softened outputs."""

import torch.nn.functional as F
from torch import Tensor

from qacomp.training.distillation_losses.registry import register_distillation_loss


@register_distillation_loss("kl")
def kl(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return τ²·KL(softmax(teacher/τ) ∥ softmax(student/τ)), the mean over the batch: scalar float32."""
    target = F.log_softmax(teacher / temperature, dim=1)  # (B, classes)
    log_student = F.log_softmax(student.float() / temperature, dim=1)  # (B, classes)
    return temperature**2 * F.kl_div(log_student, target, reduction="batchmean", log_target=True)
