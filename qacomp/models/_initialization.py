"""Initial weights from which a ReLU network can be trained from scratch."""

from torch import nn


def initialize(model: nn.Module, *outputs: nn.Module) -> None:
    """He et al. 2015: weights normal with variance 2 / fan_in, 1 / fan_in in the `outputs`, zero biases.

    `outputs` are the layers that give logits: no ReLU follows them. Batch norms keep torch's ones and zeros.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            is_output = any(module is output for output in outputs)
            nn.init.kaiming_normal_(module.weight, nonlinearity="linear" if is_output else "relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
