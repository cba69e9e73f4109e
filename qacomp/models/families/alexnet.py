"""AlexNet (Krizhevsky et al. 2012) for 32x32 images, and the one for 224x224 images that the pruning literature uses.

They are two networks: the first has about 22 M parameters, and its dense layers read 256 features; the second has 57 M
parameters and 9,216 features.
"""

from collections import OrderedDict
from typing import TYPE_CHECKING

from qacomp.models.registry import CIFAR_MEAN, CIFAR_SHAPE, CIFAR_STD, register_model

if TYPE_CHECKING:
    from torch import nn


@register_model(input_shape=CIFAR_SHAPE, mean=(0.4914, 0.4822, 0.4465), std=(1.0, 1.0, 1.0))
def alexnet(num_classes: int = 10) -> "nn.Module":
    """AlexNet for 32x32 images, the original's filters and dense layers, 21,589,898 parameters.

    96, 256, 384, 384 and 256 filters, overlapping pooling, 4096-4096-10 dense units with dropout, as in the original,
    but without its two groups and local response normalization. The first layer is 3x3 with stride 2, so that the three
    poolings leave one pixel. CIFAR-10's mean of each channel is subtracted from inputs in [0, 1].
    """
    from torch import nn

    return _alexnet(nn.Conv2d(3, 96, 3, stride=2, padding=1), (256, 384, 384, 256), 1, num_classes)


@register_model(input_shape=(3, 224, 224), mean=CIFAR_MEAN, std=CIFAR_STD)
def alexnet224(num_classes: int = 10) -> "nn.Module":
    """AlexNet for 224x224 images (Krizhevsky 2014), torchvision's keys, 57,044,810 parameters."""
    from torch import nn

    return _alexnet(nn.Conv2d(3, 64, 11, stride=4, padding=2), (192, 384, 256, 256), 6, num_classes)


def _alexnet(stem: "nn.Conv2d", filters: tuple[int, int, int, int], side: int, num_classes: int) -> "nn.Module":
    """Build an AlexNet. filters: of the last four convolutions; side: rows and columns after the last pooling."""
    from torch import nn

    from qacomp.models._initialization import initialize

    second, third, fourth, fifth = filters
    features = nn.Sequential(
        stem,
        nn.ReLU(),
        nn.MaxPool2d(3, stride=2),
        nn.Conv2d(stem.out_channels, second, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(3, stride=2),
        nn.Conv2d(second, third, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(third, fourth, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(fourth, fifth, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(3, stride=2),
    )  # (N, fifth, side, side)
    output = nn.Linear(4096, num_classes)
    classifier = nn.Sequential(
        nn.Dropout(0.5),
        nn.Linear(fifth * side * side, 4096),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(4096, 4096),
        nn.ReLU(),
        output,
    )
    model = nn.Sequential(OrderedDict(features=features, flatten=nn.Flatten(), classifier=classifier))
    initialize(model, output, gain=1.2)  # less than sqrt(2): overlapping pooling and dropout raise the second moment
    return model
