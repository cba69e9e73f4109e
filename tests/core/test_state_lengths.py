"""The state-vector lengths that EPruning and its predecessor EDropout (Salehinejad and Valaee) publish.

A unit is a convolution's output filter or a dense layer's input feature. Beyond that no one rule gives all of the
published lengths, so the lengths are held here and the code has no function for them:

- in the ResNets each projection shortcut counts twice, once for its convolution and once for its batch norm, since the
  authors' code picks tensors by their names;
- AlexNet and SqueezeNet were counted for the 102 classes of the Flowers data and with the output layer's units; the
  ResNets were counted without those. SqueezeNet's last convolution has the dense layer's role, so its inputs count too.
"""

import pytest
import torch
from torch import nn

from qacomp.models import create_model

FLOWERS = 102


def meta(name: str, num_classes: int) -> nn.Module:
    with torch.device("meta"):
        return create_model(name, num_classes)


def units(model: nn.Module) -> int:
    """Convolution filters and dense inputs."""
    total = 0
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            total += module.out_channels
        elif isinstance(module, nn.Linear):
            total += module.in_features
    return total


@pytest.mark.parametrize(
    ("name", "length"), [("resnet18", 6208), ("resnet34", 9920), ("resnet50", 32448), ("resnet101", 58560)]
)
def test_resnets_count_each_projection_shortcut_twice(name: str, length: int) -> None:
    model = meta(name, 10)
    projections = [model.get_submodule(f"{stage}.0") for stage in ("layer1", "layer2", "layer3", "layer4")]
    shortcuts = [block.downsample[0].out_channels for block in projections if block.downsample is not None]  # type: ignore[index,union-attr]
    assert units(model) + sum(shortcuts) == length
    stem = model.get_submodule("conv1")
    assert isinstance(stem, nn.Conv2d) and (stem.out_channels, stem.kernel_size, stem.stride) == (64, (3, 3), (1, 1))


def test_alexnet_counts_its_outputs_for_102_classes() -> None:
    assert units(meta("alexnet224", FLOWERS)) + FLOWERS == 18662


def test_squeezenet_counts_its_last_convolution_as_a_dense_layer_too() -> None:
    model = meta("squeezenet", FLOWERS)  # the 102 outputs are filters of a convolution already
    last = model.get_submodule("classifier.1")
    assert isinstance(last, nn.Conv2d)
    assert units(model) + last.in_channels == 3558
