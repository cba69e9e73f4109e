"""SqueezeNet 1.1 (Iandola et al. 2016) with a stride-1 stem, so that 32x32 images leave 4x4 pixels to average."""

from collections import OrderedDict
from typing import TYPE_CHECKING

from qacomp.models.registry import CIFAR_MEAN, CIFAR_SHAPE, CIFAR_STD, register_model

if TYPE_CHECKING:
    from torch import nn


@register_model(input_shape=CIFAR_SHAPE, mean=CIFAR_MEAN, std=CIFAR_STD)
def squeezenet(num_classes: int = 10) -> "nn.Module":
    """SqueezeNet 1.1 with a stem for 32x32 images, torchvision's keys, 727,626 parameters."""
    from torch import nn

    from qacomp.models._fire import Fire
    from qacomp.models._initialization import initialize

    features = nn.Sequential(
        nn.Conv2d(3, 64, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(3, stride=2, ceil_mode=True),  # (N, 64, 16, 16)
        Fire(64, 16, 64),
        Fire(128, 16, 64),
        nn.MaxPool2d(3, stride=2, ceil_mode=True),  # (N, 128, 8, 8)
        Fire(128, 32, 128),
        Fire(256, 32, 128),
        nn.MaxPool2d(3, stride=2, ceil_mode=True),  # (N, 256, 4, 4)
        Fire(256, 48, 192),
        Fire(384, 48, 192),
        Fire(384, 64, 256),
        Fire(512, 64, 256),
    )  # (N, 512, 4, 4)
    output = nn.Conv2d(512, num_classes, 1)
    classifier = nn.Sequential(nn.Dropout(0.5), output, nn.ReLU(), nn.AdaptiveAvgPool2d(1))
    model = nn.Sequential(OrderedDict(features=features, classifier=classifier, flatten=nn.Flatten()))
    initialize(model, output)
    return model
