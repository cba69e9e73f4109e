"""Layers that run at several widths: a width uses the first channels of shared weights, and its own batch norms."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from qacomp.models._initialization import initialize
from qacomp.models.flexible import submodel_index

_Layer = TypeVar("_Layer", bound=nn.Module)


class SlimmableConv2d(nn.Conv2d):
    """A convolution that uses its first `inputs[i]` input and `outputs[i]` output channels at width i.

    depthwise: one filter for each channel; then `inputs` equals `outputs`.
    """

    def __init__(
        self, inputs: Sequence[int], outputs: Sequence[int], kernel: int, stride: int, depthwise: bool = False
    ) -> None:
        groups = inputs[-1] if depthwise else 1
        super().__init__(inputs[-1], outputs[-1], kernel, stride, kernel // 2, groups=groups, bias=False)
        self.inputs, self.outputs = tuple(inputs), tuple(outputs)

    def slimmed(self, width: int) -> Tensor:
        """Return a view of one width's weights: (outputs[width], inputs[width] or 1, kernel, kernel)."""
        return self.weight[: self.outputs[width], : self.inputs[width] if self.groups == 1 else 1]

    def forward(self, x: Tensor, width: int = -1) -> Tensor:
        """Map (N, inputs[width], H, W) to (N, outputs[width], H / stride, W / stride)."""
        groups = 1 if self.groups == 1 else self.inputs[width]
        return functional.conv2d(x, self.slimmed(width), None, self.stride, self.padding, groups=groups)

    def plain(self, width: int) -> nn.Conv2d:
        """Return an ordinary convolution with a copy of one width's weights."""
        inputs, outputs = self.inputs[width], self.outputs[width]
        (kernel, _), (stride, _) = self.kernel_size, self.stride
        groups = 1 if self.groups == 1 else inputs
        with torch.device("meta"):
            made = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        return _with_values(made, {"weight": self.slimmed(width)})


class SlimmableUnit(nn.Module):
    """A slimmable convolution, a batch norm for each width, and ReLU6."""

    def __init__(self, conv: SlimmableConv2d) -> None:
        super().__init__()
        self.conv = conv
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels) for channels in conv.outputs)

    def forward(self, x: Tensor, width: int = -1) -> Tensor:
        """Map (N, inputs[width], H, W) to (N, outputs[width], H / stride, W / stride)."""
        return functional.relu6(self.norms[width](self.conv(x, width)))

    def plain(self, width: int) -> nn.Sequential:
        """Return copies of one width's convolution and batch norm, and ReLU6."""
        norm = self.norms[width]
        assert isinstance(norm, nn.BatchNorm2d)
        with torch.device("meta"):
            made = nn.BatchNorm2d(norm.num_features)
        copied = _with_values(made, norm.state_dict())
        return nn.Sequential(OrderedDict(conv=self.conv.plain(width), norm=copied, relu=nn.ReLU6()))


class SlimmableLinear(nn.Linear):
    """A dense layer that uses its first `inputs[i]` input features at width i; all widths share the bias."""

    def __init__(self, inputs: Sequence[int], outputs: int) -> None:
        super().__init__(inputs[-1], outputs)
        self.inputs = tuple(inputs)

    def forward(self, x: Tensor, width: int = -1) -> Tensor:
        """Map (N, inputs[width]) to (N, outputs)."""
        return functional.linear(x, self.weight[:, : self.inputs[width]], self.bias)

    def plain(self, width: int) -> nn.Linear:
        """Return an ordinary dense layer with a copy of one width's weights."""
        inputs = self.inputs[width]
        with torch.device("meta"):
            made = nn.Linear(inputs, self.out_features)
        return _with_values(made, {"weight": self.weight[:, :inputs], "bias": self.bias})


class SlimmableNetwork(nn.Module):
    """Slimmable units in a row, global average pooling, one dense layer."""

    def __init__(self, widths: Sequence[float], units: Sequence[SlimmableUnit], num_classes: int) -> None:
        super().__init__()
        self.submodel_names = tuple(f"width{width}" for width in widths)
        self.units = nn.ModuleList(units)
        self.linear = SlimmableLinear(units[-1].conv.outputs, num_classes)
        initialize(self, self.linear)

    def forward(self, x: Tensor, width: int = -1) -> Tensor:
        """Map (N, 3, H, W) to (N, num_classes) logits of one width, the largest by default."""
        return self._at_width(x, width)

    def _at_width(self, x: Tensor, width: int) -> Tensor:
        for unit in self.units:
            x = unit(x, width)
        logits: Tensor = self.linear(torch.flatten(functional.adaptive_avg_pool2d(x, 1), 1), width)
        return logits

    def forward_all(self, x: Tensor) -> list[Tensor]:
        """Map (N, 3, H, W) to (N, num_classes) logits of every width, smallest first."""
        return [self._at_width(x, width) for width in range(len(self.submodel_names))]

    def submodel(self, name: str) -> nn.Module:
        """Return one width as a plain network with copied tensors; ConfigError for an unknown name.

        For width i the key `units.7.norm.weight` is the whole network's `units.7.norms.i.weight`. All other keys are
        those of the whole network, and their tensors are the first rows and columns of its tensors.
        """
        width = submodel_index(self.submodel_names, name)
        units = [unit.plain(width) for unit in self.units if isinstance(unit, SlimmableUnit)]
        plain = nn.Sequential(
            OrderedDict(
                units=nn.Sequential(*units),
                pool=nn.AdaptiveAvgPool2d(1),
                flatten=nn.Flatten(),
                linear=self.linear.plain(width),
            )
        )
        return plain.train(self.training)


def _with_values(layer: _Layer, values: Mapping[str, Tensor]) -> _Layer:
    """Return `layer`, made on the meta device to save drawing random weights, with copies of `values`."""
    layer.load_state_dict({name: value.detach().clone() for name, value in values.items()}, assign=True)
    return layer
