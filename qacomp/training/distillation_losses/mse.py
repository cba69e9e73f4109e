"""The squared difference of logits: what τ²·KL tends to for large temperatures (Hinton et al. 2015, eq. 4)."""

from torch import Tensor

from qacomp.training.distillation_losses.registry import register_distillation_loss


@register_distillation_loss("mse")
def mse(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return half the mean of (student − teacher)² over batch and classes, logits centred: scalar float32.

    The temperature doesn't matter: eq. 4 has no τ left.
    """
    a, b = student.float(), teacher
    difference = (a - a.mean(dim=1, keepdim=True)) - (b - b.mean(dim=1, keepdim=True))  # (B, classes)
    return 0.5 * difference.square().mean()
