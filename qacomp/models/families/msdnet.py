"""Multi-scale dense network (Huang et al. 2018) with early exits, in the CIFAR configuration of its authors."""

from typing import TYPE_CHECKING

from qacomp.models.registry import CIFAR_MEAN, CIFAR_SHAPE, CIFAR_STD, register_model

if TYPE_CHECKING:
    from torch import nn


@register_model(input_shape=CIFAR_SHAPE, mean=CIFAR_MEAN, std=CIFAR_STD)
def msdnet(num_classes: int = 10) -> "nn.Module":
    """MSDNet with 7 exits over 3 scales, a flexible model, 2,986,690 parameters.

    Blocks of 4, 2, 2, 2, 2, 2 and 2 layers; 16 channels, growth 6, reduction 0.5. The sub-models are exit1 ... exit7.
    """
    from qacomp.models._msdnet import MultiScaleDenseNetwork

    return MultiScaleDenseNetwork((4, 2, 2, 2, 2, 2, 2), channels=16, growth=6, reduction=0.5, num_classes=num_classes)
