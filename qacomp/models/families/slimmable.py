"""Slimmable MobileNet-V1 (Yu et al. 2019; Howard et al. 2017) for 32x32 images: four widths in one network."""

from typing import TYPE_CHECKING

from qacomp.models.registry import CIFAR_MEAN, CIFAR_SHAPE, CIFAR_STD, register_model

if TYPE_CHECKING:
    from torch import nn

_WIDTHS = (0.25, 0.5, 0.75, 1.0)
_STEM = 32
_STAGES = ((64, 1, 1), (128, 2, 2), (256, 2, 2), (512, 6, 2), (1024, 2, 2))  # channels, blocks, first stride


@register_model(input_shape=CIFAR_SHAPE, mean=CIFAR_MEAN, std=CIFAR_STD)
def slimmable_mobilenet(num_classes: int = 10) -> "nn.Module":
    """MobileNet-V1 with widths 0.25, 0.5, 0.75 and 1.0, a flexible model, 3,217,226 parameters at the largest.

    A 3x3 stem with stride 1, then 13 depthwise-separable blocks. The widths share weights and the bias of the dense
    layer; each has its own batch norms. With those of all widths the network has 3,250,058 parameters. The sub-models
    are width0.25 ... width1.0.
    """
    from qacomp.models._slimmable import SlimmableConv2d, SlimmableNetwork, SlimmableUnit

    inputs = _channels(_STEM)
    units = [SlimmableUnit(SlimmableConv2d((3,) * len(_WIDTHS), inputs, 3, 1))]
    for channels, blocks, first_stride in _STAGES:
        outputs = _channels(channels)
        for block in range(blocks):
            stride = first_stride if block == 0 else 1
            units.append(SlimmableUnit(SlimmableConv2d(inputs, inputs, 3, stride, depthwise=True)))
            units.append(SlimmableUnit(SlimmableConv2d(inputs, outputs, 1, 1)))
            inputs = outputs
    return SlimmableNetwork(_WIDTHS, units, num_classes)


def _channels(full: int) -> tuple[int, ...]:
    """Return `full` channels scaled to each width, rounded to multiples of 8, but at least 90 % of the exact number."""
    rounded = [max(8, int(full * width + 4) // 8 * 8) for width in _WIDTHS]
    return tuple(n if n >= 0.9 * full * width else n + 8 for n, width in zip(rounded, _WIDTHS, strict=True))
