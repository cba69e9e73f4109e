"""LeNet-300-100 and LeNet-5 as the compression literature uses them (LeCun et al. 1998; Caffe's lenet.prototxt)."""

from collections import OrderedDict
from typing import TYPE_CHECKING

from qacomp.models.registry import register_model

if TYPE_CHECKING:
    from torch import nn

_MNIST_MEAN = (0.1307,)
_MNIST_STD = (0.3081,)


@register_model(input_shape=(1, 28, 28), mean=_MNIST_MEAN, std=_MNIST_STD)
def lenet300(num_classes: int = 10) -> "nn.Module":
    """LeNet-300-100: 784-300-100-10 dense layers, 266,610 parameters."""
    from torch import nn

    return nn.Sequential(
        OrderedDict(
            flatten=nn.Flatten(),
            fc1=nn.Linear(784, 300),
            relu1=nn.ReLU(),
            fc2=nn.Linear(300, 100),
            relu2=nn.ReLU(),
            fc3=nn.Linear(100, num_classes),
        )
    )


@register_model(input_shape=(1, 28, 28), mean=_MNIST_MEAN, std=_MNIST_STD)
def lenet5(num_classes: int = 10) -> "nn.Module":
    """LeNet-5 of Caffe: 20 and 50 5x5 filters, 500 and 10 dense; 430,500 weights, 431,080 parameters.

    As in Caffe, the only ReLU follows the 500 dense units, and weights are initialized by Caffe's "xavier" filler
    (uniform within ±sqrt(3 / fan_in)), biases with zero.
    """
    from torch import nn

    model = nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(1, 20, kernel_size=5),  # (N, 20, 24, 24)
            pool1=nn.MaxPool2d(2),
            conv2=nn.Conv2d(20, 50, kernel_size=5),  # (N, 50, 8, 8)
            pool2=nn.MaxPool2d(2),
            flatten=nn.Flatten(),  # (N, 800)
            fc1=nn.Linear(800, 500),
            relu1=nn.ReLU(),
            fc2=nn.Linear(500, num_classes),
        )
    )
    for layer in model:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            fan_in = layer.weight[0].numel()
            nn.init.uniform_(layer.weight, -((3 / fan_in) ** 0.5), (3 / fan_in) ** 0.5)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return model
