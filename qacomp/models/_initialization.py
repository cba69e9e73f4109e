"""Initial weights from which a ReLU network can be trained from scratch."""

import math

from torch import nn


def initialize(model: nn.Module, *outputs: nn.Module, gain: float = math.sqrt(2)) -> None:
    """Draw normal weights of deviation gain / sqrt(fan_in), in the `outputs` 1 / sqrt(fan_in); biases are zero.

    `outputs` are the layers that give logits: no ReLU follows them. The default gain makes up for the half that a ReLU
    takes away (He et al. 2015). Where max-pooling or dropout raise the second moment again, and no batch norm sets it
    right, a family passes a smaller one that keeps it near that of the input. Batch norms keep torch's ones and zeros.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            numerator = 1.0 if any(module is output for output in outputs) else gain
            nn.init.normal_(module.weight, std=numerator / math.sqrt(module.weight[0].numel()))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
