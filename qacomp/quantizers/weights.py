"""Quantized weights as parametrizations, and their end as shared weights.

The forward pass sees the quantized weight, the optimizer moves its full-precision shadow, and the gradient passes from
the one to the other unchanged (the straight-through estimator of Bengio et al., 2013, with identity derivative).
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import parametrize

from qacomp.quantizers.base import Quantizer, check_bits, quantizer_named
from qacomp.sharing.parametrization import share_weight


class _Replace(torch.autograd.Function):
    """(weight, quantized) -> quantized; the gradient goes to the weight as it is."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, quantized: Tensor) -> Tensor:
        return quantized

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        return grad_outputs[0], None


class QuantizedWeight(nn.Module):
    """Maps a shadow weight (any shape) to its quantized values."""

    def __init__(self, quantizer: Quantizer, bits: int) -> None:
        super().__init__()
        self.quantizer, self.bits = quantizer, bits

    def forward(self, weight: Tensor) -> Tensor:
        """Shadow weight -> quantized weight, same shape."""
        replaced: Tensor = _Replace.apply(weight, self.quantizer.quantize(weight, self.bits))  # type: ignore[no-untyped-call]
        return replaced

    def right_inverse(self, weight: Tensor) -> Tensor:
        """An assigned weight becomes the shadow."""
        return weight

    def extra_repr(self) -> str:
        """`dorefa, 3 bits`."""
        return f"{self.quantizer.name}, {self.bits} bits"


def quantize_network(model: nn.Module, bits: Mapping[str, int], quantizer: str) -> None:
    """Put the weights that `bits` names (state-dict key -> 1 .. 8) behind `quantizer`, in place.

    `weight` stays readable as the quantized value; `parametrizations.weight.original` is the trained parameter.
    Raises ConfigError for an unknown quantizer or bits out of range, before anything is changed.
    """
    method = quantizer_named(quantizer)
    for name, count in bits.items():
        check_bits(count, name)
    for name, count in bits.items():
        path, _, leaf = name.rpartition(".")
        parametrize.register_parametrization(model.get_submodule(path), leaf, QuantizedWeight(method, count))


def quantized_weights(model: nn.Module) -> Iterator[tuple[str, nn.Module, str, QuantizedWeight]]:
    """(state-dict key, owning module, its attribute, parametrization) of every weight behind a quantizer."""
    for path, module in model.named_modules():
        for leaf, chain in getattr(module, "parametrizations", {}).items():
            if isinstance(chain[0], QuantizedWeight):
                yield f"{path}.{leaf}".removeprefix("."), module, leaf, chain[0]


def freeze_to_shared(model: nn.Module) -> dict[str, tuple[NDArray[np.floating], NDArray[np.unsignedinteger]]]:
    """Turn every quantized weight into a shared one of exactly the same values, in place.

    The shadow weights are dropped; the levels in use become trainable codebooks (qacomp.sharing.parametrization).
    Returns (codebook (K',), indices of the weight's shape) by state-dict key.
    """
    frozen = {}
    for name, module, leaf, quantized in list(quantized_weights(model)):
        chain: Any = module.get_submodule(f"parametrizations.{leaf}")
        shadow = chain.original.detach()
        levels = quantized.quantizer.levels(shadow, quantized.bits).cpu().numpy()
        index = quantized.quantizer.indices(shadow, quantized.bits).cpu().numpy()
        used, renumbered = np.unique(index, return_inverse=True)
        indices = renumbered.reshape(index.shape).astype(np.uint8)  # at most 256 levels
        parametrize.remove_parametrizations(module, leaf, leave_parametrized=True)
        share_weight(module, leaf, levels[used], indices)
        frozen[name] = levels[used], indices
    return frozen
