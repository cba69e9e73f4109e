"""The small CIFAR network of the quantization literature: LeNet-5's layout for colour images with ReLUs."""

from collections import OrderedDict
from typing import TYPE_CHECKING

from qacomp.models.registry import CIFAR_MEAN, CIFAR_SHAPE, CIFAR_STD, register_model

if TYPE_CHECKING:
    from torch import nn


@register_model(input_shape=CIFAR_SHAPE, mean=CIFAR_MEAN, std=CIFAR_STD)
def simplenet(num_classes: int = 10) -> "nn.Module":
    """Two 5x5 convolutions (6 and 16 filters) and 400-120-84-10 dense layers, 62,006 parameters."""
    from torch import nn

    from qacomp.models._initialization import initialize

    output = nn.Linear(84, num_classes)
    model = nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(3, 6, 5),  # (N, 6, 28, 28)
            relu1=nn.ReLU(),
            pool1=nn.MaxPool2d(2),
            conv2=nn.Conv2d(6, 16, 5),  # (N, 16, 10, 10)
            relu2=nn.ReLU(),
            pool2=nn.MaxPool2d(2),
            flatten=nn.Flatten(),  # (N, 400)
            fc1=nn.Linear(400, 120),
            relu3=nn.ReLU(),
            fc2=nn.Linear(120, 84),
            relu4=nn.ReLU(),
            fc3=output,
        )
    )
    initialize(model, output)
    return model
