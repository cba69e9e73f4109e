"""The squared difference of outputs as they are: for features and regression."""

from torch import Tensor

from qacomp.training.distillation_losses.registry import register_distillation_loss


@register_distillation_loss("squared")
def squared(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return the mean of (student − teacher)² over all values: scalar float32. The temperature has no effect."""
    return (student.float() - teacher).square().mean()
