"""The modules of MSDNet: feature maps at several scales, finest first; each layer adds channels to every scale."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def conv_unit(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Sequential:
    """Return convolution, batch norm and ReLU: (N, inputs, H, W) -> (N, outputs, H / stride, W / stride)."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


def bottleneck(inputs: int, outputs: int, factor: int, stride: int) -> nn.Sequential:
    """Return a 1x1 unit to at most `factor * outputs` channels, then a 3x3 unit that may stride."""
    inner = min(inputs, factor * outputs)
    return nn.Sequential(conv_unit(inputs, inner, 1, 1), conv_unit(inner, outputs, 3, stride))


class Pyramid(nn.Module):
    """The first layer: an image at every scale."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        inputs = (3, *channels)
        self.scales = nn.ModuleList(
            conv_unit(inputs[i], outputs, 3, stride=1 if i == 0 else 2) for i, outputs in enumerate(channels)
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map (N, 3, H, W) to (N, channels[i], H / 2^i, W / 2^i) of every scale i."""
        features = []
        for scale in self.scales:
            x = scale(x)
            features.append(x)
        return features


class ScaleGrowth(nn.Module):
    """Appends new channels to those of one scale; half of them come from the next finer scale, if there is one."""

    def __init__(self, finer: int, same: int, growth: int, finer_factor: int, same_factor: int) -> None:
        super().__init__()
        share = growth // 2 if finer else growth
        self.down = bottleneck(finer, share, finer_factor, stride=2) if finer else None
        self.normal = bottleneck(same, share, same_factor, stride=1)

    def forward(self, finer: Tensor | None, same: Tensor) -> Tensor:
        """Map (N, finer, 2H, 2W) or None, and (N, same, H, W), to (N, same + growth, H, W)."""
        parts = [same, self.normal(same)]
        if self.down is not None:
            parts.insert(1, self.down(finer))
        return torch.cat(parts, 1)


class DenseLayer(nn.Module):
    """One dense layer, which outputs the coarsest `len(growths)` scales; a finer input scale is read, then dropped."""

    def __init__(self, channels: Sequence[int], growths: Sequence[int], factors: Sequence[int]) -> None:
        """Take `channels` and bottleneck `factors` of the input scales, and `growths` of the output scales."""
        super().__init__()
        first = len(channels) - len(growths)
        self.scales = nn.ModuleList(
            ScaleGrowth(
                finer=channels[i - 1] if i else 0,
                same=channels[i],
                growth=growths[i - first],
                finer_factor=factors[i - 1] if i else 0,
                same_factor=factors[i],
            )
            for i in range(first, len(channels))
        )

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Map the feature maps of the input scales to those of the output scales."""
        first = len(features) - len(self.scales)
        return [scale(features[i - 1] if i else None, features[i]) for i, scale in enumerate(self.scales, start=first)]


class Transition(nn.Module):
    """Reduces the channels of every scale by a 1x1 unit."""

    def __init__(self, inputs: Sequence[int], outputs: Sequence[int]) -> None:
        super().__init__()
        self.scales = nn.ModuleList(conv_unit(i, o, 1, 1) for i, o in zip(inputs, outputs, strict=True))

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Map the feature maps of all scales to maps with fewer channels."""
        return [scale(x) for scale, x in zip(self.scales, features, strict=True)]


class ExitHead(nn.Module):
    """A classifier on the coarsest scale: two strided convolutions, average pooling, one dense layer."""

    def __init__(self, inputs: int, num_classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(conv_unit(inputs, 128, 3, 2), conv_unit(128, 128, 3, 2), nn.AvgPool2d(2))
        self.linear = nn.Linear(128, num_classes)

    def forward(self, features: list[Tensor]) -> Tensor:
        """Map feature maps of all scales, the last of 8x8 pixels, to (N, num_classes) logits."""
        logits: Tensor = self.linear(torch.flatten(self.features(features[-1]), 1))
        return logits
