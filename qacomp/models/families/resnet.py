"""The CIFAR ResNets (He et al. 2016, section 4.2): 6n + 2 layers of 16, 32 and 64 filters, option-A shortcuts."""

from typing import TYPE_CHECKING

from qacomp.models.registry import register_model

if TYPE_CHECKING:
    from torch import nn

_SHAPE = (3, 32, 32)
_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)


@register_model(input_shape=_SHAPE, mean=_MEAN, std=_STD)
def resnet20(num_classes: int = 10) -> "nn.Module":
    """CIFAR ResNet-20, option-A shortcuts, 269,722 parameters."""
    return _resnet(3, num_classes)


@register_model(input_shape=_SHAPE, mean=_MEAN, std=_STD)
def resnet32(num_classes: int = 10) -> "nn.Module":
    """CIFAR ResNet-32, option-A shortcuts, 464,154 parameters."""
    return _resnet(5, num_classes)


@register_model(input_shape=_SHAPE, mean=_MEAN, std=_STD)
def resnet44(num_classes: int = 10) -> "nn.Module":
    """CIFAR ResNet-44, option-A shortcuts, 658,586 parameters."""
    return _resnet(7, num_classes)


@register_model(input_shape=_SHAPE, mean=_MEAN, std=_STD)
def resnet56(num_classes: int = 10) -> "nn.Module":
    """CIFAR ResNet-56, option-A shortcuts, 853,018 parameters."""
    return _resnet(9, num_classes)


def _resnet(blocks: int, num_classes: int) -> "nn.Module":
    from qacomp.models._residual import ResidualNetwork

    return ResidualNetwork(blocks, num_classes)
