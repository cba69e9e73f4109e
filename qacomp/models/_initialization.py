"""Initial weights from which a ReLU network can be trained from scratch."""

import math

from torch import nn


def initialize(model: nn.Module, *outputs: nn.Module, gain: float = math.sqrt(2)) -> None:
    """Draw normal weights of standard deviation gain / sqrt(fan_in), in place; biases become zero.

    outputs: the layers that give logits; no ReLU follows them, so their deviation is 1 / sqrt(fan_in). The default gain
    compensates the half of the second moment that a ReLU removes (He et al. 2015). Max-pooling and dropout raise it
    again: a family with them, and without batch norm, passes a smaller gain. Batch norms keep torch's ones and zeros.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            numerator = 1.0 if any(module is output for output in outputs) else gain
            nn.init.normal_(module.weight, std=numerator / math.sqrt(module.weight[0].numel()))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
