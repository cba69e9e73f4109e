"""The modules of the CIFAR ResNets; attribute names are the keys of the published checkpoints."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class OptionAShortcut(nn.Module):
    """Takes every second row and column, pads channels with zeros at both ends; no parameters (He et al., option A)."""

    def __init__(self, padding: int) -> None:
        super().__init__()
        self.padding = padding

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C + 2 * padding, H / 2, W / 2)."""
        return functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.padding, self.padding))


class OptionABlock(nn.Module):
    """Two 3x3 convolutions with batch norm and a shortcut around them."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu1, self.relu2 = nn.ReLU(), nn.ReLU()
        narrow = stride != 1 or inputs != outputs
        self.shortcut: nn.Module = OptionAShortcut((outputs - inputs) // 2) if narrow else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, inputs, H, W) to (N, outputs, H / stride, W / stride)."""
        out = self.relu1(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out)) + self.shortcut(x)
        activated: Tensor = self.relu2(out)
        return activated


class ResidualNetwork(nn.Module):
    """A stem, three stages of `blocks` blocks with 16, 32 and 64 channels, global average pooling, one dense layer."""

    def __init__(self, blocks: int, num_classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.relu = nn.ReLU()
        self.layer1 = _stage(16, 16, blocks, stride=1)
        self.layer2 = _stage(16, 32, blocks, stride=2)
        self.layer3 = _stage(32, 64, blocks, stride=2)
        self.linear = nn.Linear(64, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, 3, H, W) to (N, num_classes) logits."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.layer3(self.layer2(self.layer1(out)))  # (N, 64, H / 4, W / 4)
        out = torch.flatten(functional.adaptive_avg_pool2d(out, 1), 1)  # (N, 64)
        logits: Tensor = self.linear(out)
        return logits


def _stage(inputs: int, outputs: int, blocks: int, stride: int) -> nn.Sequential:
    first = OptionABlock(inputs, outputs, stride)
    return nn.Sequential(first, *(OptionABlock(outputs, outputs, 1) for _ in range(blocks - 1)))
