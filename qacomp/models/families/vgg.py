"""VGG-11 and VGG-16 (Simonyan and Zisserman 2015, configurations A and D) for 32x32 images, torchvision's keys."""

import math
from collections import OrderedDict
from typing import TYPE_CHECKING

from qacomp.models.registry import CIFAR_MEAN, CIFAR_SHAPE, CIFAR_STD, register_model

if TYPE_CHECKING:
    from torch import nn

_POOL = 0  # in a list of filters: 2x2 max-pooling
_A = (64, _POOL, 128, _POOL, 256, 256, _POOL, 512, 512, _POOL, 512, 512, _POOL)
_D = (64, 64, _POOL, 128, 128, _POOL, 256, 256, 256, _POOL, 512, 512, 512, _POOL, 512, 512, 512, _POOL)


@register_model(input_shape=CIFAR_SHAPE, mean=CIFAR_MEAN, std=CIFAR_STD)
def vgg11(num_classes: int = 10) -> "nn.Module":
    """VGG-11 for 32x32 images with one dense layer, no batch norm, 9,225,610 parameters."""
    from torch import nn

    output = nn.Linear(512, num_classes)
    return _vgg(_A, output, output, gain=1.2)  # one pooling for every one or two convolutions


@register_model(input_shape=CIFAR_SHAPE, mean=(0.4914, 0.4822, 0.4465), std=(1.0, 1.0, 1.0))
def vgg16(num_classes: int = 10) -> "nn.Module":
    """VGG-16 for 32x32 images with the original's 4096-4096 dense layers, no batch norm, 33,638,218 parameters.

    Five poolings leave one pixel of 512 features. CIFAR-10's mean of each channel is subtracted from inputs in [0, 1].
    """
    from torch import nn

    output = nn.Linear(4096, num_classes)
    classifier = nn.Sequential(
        nn.Linear(512, 4096),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(4096, 4096),
        nn.ReLU(),
        nn.Dropout(0.5),
        output,
    )
    return _vgg(_D, classifier, output, gain=math.sqrt(2))


def _vgg(filters: tuple[int, ...], classifier: "nn.Module", output: "nn.Module", gain: float) -> "nn.Module":
    from torch import nn

    from qacomp.models._initialization import initialize

    layers: list[nn.Module] = []
    inputs = 3
    for outputs in filters:
        if outputs == _POOL:
            layers.append(nn.MaxPool2d(2))
        else:
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU()]
            inputs = outputs
    features = nn.Sequential(*layers)  # (N, 512, 1, 1)
    model = nn.Sequential(OrderedDict(features=features, flatten=nn.Flatten(), classifier=classifier))
    initialize(model, output, gain=gain)
    return model
