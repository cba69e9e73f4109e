"""The squared difference of logits, the limit of τ²·KL for large temperatures (Hinton et al. 2015, eq. 4)."""

from torch import Tensor

from qacomp.training.distillation_losses.registry import register_distillation_loss


@register_distillation_loss("mse")
def mse(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return half the mean of (student − teacher)² over batch and classes, logits centred: scalar float32.

    The temperature has no effect, since eq. 4 doesn't contain τ.
    """
    a, b = student.float(), teacher
    difference = (a - a.mean(dim=1, keepdim=True)) - (b - b.mean(dim=1, keepdim=True))  # (B, classes)
    return 0.5 * difference.square().mean()
