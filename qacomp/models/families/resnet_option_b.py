"""The ImageNet ResNets (He et al. 2016, table 1, projection shortcuts) with a 3x3 stride-1 stem and no max-pooling."""

from typing import TYPE_CHECKING

from qacomp.models.registry import CIFAR_MEAN, CIFAR_SHAPE, CIFAR_STD, register_model

if TYPE_CHECKING:
    from torch import nn


@register_model(input_shape=CIFAR_SHAPE, mean=CIFAR_MEAN, std=CIFAR_STD)
def resnet18(num_classes: int = 10) -> "nn.Module":
    """ResNet-18 with a stem for 32x32 images, torchvision's keys, 11,173,962 parameters."""
    from qacomp.models._residual_option_b import BasicBlock, ImageNetResidualNetwork

    return ImageNetResidualNetwork(BasicBlock, (2, 2, 2, 2), num_classes)


@register_model(input_shape=CIFAR_SHAPE, mean=CIFAR_MEAN, std=CIFAR_STD)
def resnet34(num_classes: int = 10) -> "nn.Module":
    """ResNet-34 with a stem for 32x32 images, torchvision's keys, 21,282,122 parameters."""
    from qacomp.models._residual_option_b import BasicBlock, ImageNetResidualNetwork

    return ImageNetResidualNetwork(BasicBlock, (3, 4, 6, 3), num_classes)


@register_model(input_shape=CIFAR_SHAPE, mean=CIFAR_MEAN, std=CIFAR_STD)
def resnet50(num_classes: int = 10) -> "nn.Module":
    """ResNet-50 with a stem for 32x32 images, torchvision's keys, 23,520,842 parameters."""
    from qacomp.models._residual_option_b import Bottleneck, ImageNetResidualNetwork

    return ImageNetResidualNetwork(Bottleneck, (3, 4, 6, 3), num_classes)


@register_model(input_shape=CIFAR_SHAPE, mean=CIFAR_MEAN, std=CIFAR_STD)
def resnet101(num_classes: int = 10) -> "nn.Module":
    """ResNet-101 with a stem for 32x32 images, torchvision's keys, 42,512,970 parameters."""
    from qacomp.models._residual_option_b import Bottleneck, ImageNetResidualNetwork

    return ImageNetResidualNetwork(Bottleneck, (3, 4, 23, 3), num_classes)
