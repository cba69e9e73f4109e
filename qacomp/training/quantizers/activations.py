"""Quantized activations: a ReLU that clips at 1 and rounds to k bits (Zhou et al., 2016, eq. 11; WRPN likewise).

It is built of clamp, multiplication, rounding and division, so networks with it can be exported to ONNX unchanged.
"""

from collections.abc import Collection

import torch
from torch import Tensor, nn

from qacomp.errors import ConfigError
from qacomp.models.weight_places import split_name
from qacomp.training.quantizers.base import check_bits


class QuantizedActivation(nn.Module):
    """round((2^k − 1)·x)/(2^k − 1) for x clipped to [0, 1]; the gradient is 1 inside that range and 0 outside."""

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.bits = bits

    def forward(self, x: Tensor) -> Tensor:
        """Map a tensor of any shape to the same shape with at most 2^k different values."""
        steps = 2**self.bits - 1
        clipped = x.clamp(0, 1)
        rounded = torch.round(clipped * steps) / steps
        quantized: Tensor = clipped + (rounded - clipped).detach() if self.training else rounded
        return quantized

    def extra_repr(self) -> str:
        """Return a text such as `4 bits`."""
        return f"{self.bits} bits"


def quantize_activations(model: nn.Module, bits: int, *, keep: Collection[str] = ()) -> list[str]:
    """Replace every ReLU module of `model` except those in `keep`, in place; return the names of the replaced ones.

    Raises ConfigError for bits outside 1 .. 8, or if the model has no ReLU module (functional.relu can't be replaced).
    """
    check_bits(bits, "activations")
    everywhere = list(model.named_modules(remove_duplicate=False))
    found = [n for n, m in everywhere if isinstance(m, nn.ReLU | nn.ReLU6) and n not in keep]
    if not found:
        raise ConfigError("activations can't be quantized: this network has no ReLU modules; write them as nn.ReLU")
    modules, made = dict(everywhere), {}
    for name in found:
        owner, leaf = split_name(model, name)
        if modules[name] not in made:
            made[modules[name]] = QuantizedActivation(bits).train(model.training)
        owner.register_module(leaf, made[modules[name]])
    return found
