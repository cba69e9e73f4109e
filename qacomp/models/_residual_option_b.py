"""The modules of the ImageNet ResNets with a stem for 32x32 images; attribute names are torchvision's keys."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from qacomp.models._initialization import initialize


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut around them; the output has `width` channels."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu1, self.relu2 = nn.ReLU(), nn.ReLU()
        self.downsample = _downsample(inputs, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, inputs, H, W) to (N, width, H / stride, W / stride)."""
        out = self.relu1(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        activated: Tensor = self.relu2(out + _shortcut(self.downsample, x))
        return activated


class Bottleneck(nn.Module):
    """1x1, 3x3 (strided) and 1x1 convolutions and a shortcut around them; the output has 4 * `width` channels."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = width * self.expansion
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.relu1, self.relu2, self.relu3 = nn.ReLU(), nn.ReLU(), nn.ReLU()
        self.downsample = _downsample(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, inputs, H, W) to (N, 4 * width, H / stride, W / stride)."""
        out = self.relu1(self.bn1(self.conv1(x)))
        out = self.relu2(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        activated: Tensor = self.relu3(out + _shortcut(self.downsample, x))
        return activated


class ImageNetResidualNetwork(nn.Module):
    """A 3x3 stem without max-pooling, four stages of blocks of width 64, 128, 256 and 512, pooling, one dense layer."""

    def __init__(
        self, block: type[BasicBlock] | type[Bottleneck], depths: tuple[int, int, int, int], num_classes: int
    ) -> None:
        super().__init__()
        outputs = [width * block.expansion for width in (64, 128, 256, 512)]
        self.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU()
        self.layer1 = _stage(block, 64, 64, depths[0], stride=1)
        self.layer2 = _stage(block, outputs[0], 128, depths[1], stride=2)
        self.layer3 = _stage(block, outputs[1], 256, depths[2], stride=2)
        self.layer4 = _stage(block, outputs[2], 512, depths[3], stride=2)
        self.fc = nn.Linear(outputs[3], num_classes)
        initialize(self, self.fc)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, 3, H, W) to (N, num_classes) logits."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.layer4(self.layer3(self.layer2(self.layer1(out))))  # (N, 512 * expansion, H / 8, W / 8)
        out = torch.flatten(functional.adaptive_avg_pool2d(out, 1), 1)
        logits: Tensor = self.fc(out)
        return logits


def _stage(block: type[BasicBlock] | type[Bottleneck], inputs: int, width: int, depth: int, stride: int) -> nn.Module:
    outputs = width * block.expansion
    return nn.Sequential(block(inputs, width, stride), *(block(outputs, width, 1) for _ in range(depth - 1)))


def _downsample(inputs: int, outputs: int, stride: int) -> nn.Module | None:
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs))


def _shortcut(downsample: nn.Module | None, x: Tensor) -> Tensor:
    shortcut: Tensor = x if downsample is None else downsample(x)
    return shortcut
