"""The network for street-view house numbers (SVHN) on which SinReQ was measured."""

import math
from collections import OrderedDict
from typing import TYPE_CHECKING

from qacomp.models.registry import CIFAR_MEAN, CIFAR_SHAPE, CIFAR_STD, register_model

if TYPE_CHECKING:
    from torch import nn


@register_model(input_shape=CIFAR_SHAPE, mean=CIFAR_MEAN, std=CIFAR_STD)
def svhnnet(num_classes: int = 10) -> "nn.Module":
    """Seven 3x3 convolutions (32, 32, 64, 64, 128, 128, 256 filters) and one dense layer, 584,746 parameters.

    ReLU and dropout 0.3 follow each convolution, 2x2 max-pooling each pair; the last convolution has no padding.
    """
    from torch import nn

    from qacomp.models._initialization import initialize

    layers: list[nn.Module] = []
    inputs = 3
    for outputs in (32, 64, 128):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(), nn.Dropout(0.3)]
        layers += [nn.Conv2d(outputs, outputs, 3, padding=1), nn.ReLU(), nn.Dropout(0.3), nn.MaxPool2d(2)]
        inputs = outputs
    layers += [nn.Conv2d(128, 256, 3), nn.ReLU(), nn.Dropout(0.3), nn.MaxPool2d(2)]  # (N, 256, 1, 1)
    output = nn.Linear(256, num_classes)
    model = nn.Sequential(OrderedDict(features=nn.Sequential(*layers), flatten=nn.Flatten(), classifier=output))
    initialize(
        model, output, gain=math.sqrt(0.7)
    )  # 1 for pairs with max-pooling; dropout of 0.3 divides the second moment by 0.7
    return model
