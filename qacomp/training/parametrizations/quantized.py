"""A parametrization for quantized weights, and their conversion to shared weights.

The forward pass uses the quantized weight, and the optimizer moves the full-precision weight behind it (the shadow
weight). The gradient passes from the quantized to the shadow weight unchanged (the straight-through estimator of Bengio
et al., 2013, with identity derivative).

Learned bits get a gradient too. The quantization error e is ∝ 2^−b, so the quantized weight's derivative by b is −ln 2
times e. (Shadow weights gather around the rounding boundaries until the gradient is 0 on average. There the mean of
gradient times error is exactly what the loss changes with b.)
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from qacomp.models.weight_places import is_parametrized_by, parametrizations, put_on, take_off
from qacomp.options.method import MethodLike
from qacomp.training.parametrizations.shared import share_weight
from qacomp.training.quantizers.base import UNIT, Quantizer, Scale, check_bits, quantizer_named

FINEST = 8
"""Bits with which learned bits start; the error of fewer bits is measured from their levels."""


class _Replace(torch.autograd.Function):
    """(weight, quantized) -> quantized; the gradient is passed to the weight unchanged."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, quantized: Tensor) -> Tensor:
        return quantized

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        return grad_outputs[0], None


class _ReplaceByBits(torch.autograd.Function):
    """(weight, quantized, error, bits) -> quantized; bits, a scalar, get −ln 2 · Σ gradient · error."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, quantized: Tensor, error: Tensor, bits: Tensor) -> Tensor:
        ctx.save_for_backward(error, bits)
        return quantized

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None, Tensor]:
        error, bits = ctx.saved_tensors
        gradient = grad_outputs[0]
        return gradient, None, None, (-math.log(2) * (gradient * error).sum()).to(bits)


@runtime_checkable
class LearnedBits(Protocol):
    """An object that learns a layer's number of bits, such as `qacomp.training.regularizers.sinreq.SinReQ`.

    bits: the number, a scalar parameter.
    """

    bits: Tensor

    def whole_bits(self) -> int:
        """Return the present number of bits, as an integer."""
        ...

    def fit(self, unit: float) -> None:
        """Take over the weight that the quantizer, fitted to other bits, maps to 1."""
        ...

    def advance(self, part: float) -> None:
        """Keep the bits in their range after a step, which is this part of the whole training."""
        ...


class QuantizedWeight(nn.Module):
    """Maps a shadow weight (any shape) to its quantized values.

    scaled: use a scale that is fitted to the layer, else that of the papers (see `Scale`). learned: gives the bits at
    every step instead of `bits`; the scale is fitted again when they change. mask: in the weight's shape, False where
    the weight is pruned: it stays zero, and levels and scale are fitted to the other weights. `units` (3,): divisor,
    factor and the bits that they were fitted for, a buffer so that a resumed training has them.
    """

    units: Tensor
    mask: Tensor | None

    def __init__(
        self,
        quantizer: Quantizer,
        bits: int,
        *,
        scaled: bool = False,
        learned: LearnedBits | None = None,
        mask: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.quantizer, self.scaled = quantizer, scaled
        self._bits, self._learned = bits, (learned,)  # a tuple, so that torch doesn't register it here too
        self.register_buffer("units", torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64))
        self.register_buffer("mask", mask, persistent=False)

    @property
    def bits(self) -> int:
        """Return the layer's present number of bits."""
        learned = self._learned[0]
        return self._bits if learned is None else learned.whole_bits()

    def scale(self, weight: Tensor) -> Scale:
        """Return the layer's scale for the shadow `weight`; fit it first if the bits have changed."""
        if not self.scaled:
            return UNIT
        bits = self.bits
        if int(self.units[2]) != bits:
            fitted = self.quantizer.fit_scale(self.kept(weight.detach()), bits)
            self.units.copy_(torch.tensor([fitted.divisor, fitted.factor, bits]))
            if (learned := self._learned[0]) is not None:
                learned.fit(fitted.divisor)
        divisor, factor, _ = self.units.tolist()
        return Scale(divisor, factor)

    def refit(self, weight: Tensor) -> Scale:
        """Return the scale of the shadow `weight` as it is now; it is used from now on."""
        self.units[2] = 0
        return self.scale(weight)

    def kept(self, weight: Tensor) -> Tensor:
        """Return the weights that aren't pruned, (n,); without a mask the weight as it is."""
        return weight if self.mask is None else weight[self.mask]

    def forward(self, weight: Tensor) -> Tensor:
        """Map the shadow weight to the quantized weight, same shape."""
        kept, scale = self.kept(weight), self.scale(weight)
        quantized = self.quantizer.quantize(kept, self.bits, scale)
        whole = self._spread(weight, quantized)
        replaced: Tensor
        learned = self._learned[0]
        if learned is not None and learned.bits.requires_grad and self.training:
            error = self._spread(weight, quantized - self.quantizer.quantize(kept, FINEST, scale))
            replaced = _ReplaceByBits.apply(weight, whole, error, learned.bits)  # type: ignore[no-untyped-call]
        else:
            replaced = _Replace.apply(weight, whole)  # type: ignore[no-untyped-call]
        return replaced

    def _spread(self, weight: Tensor, values: Tensor) -> Tensor:
        """Return values of the weights that aren't pruned in the weight's shape, with 0 for the others."""
        return values if self.mask is None else torch.zeros_like(weight).masked_scatter(self.mask, values)

    def right_inverse(self, weight: Tensor) -> Tensor:
        """Return the weight: a weight that is assigned becomes the shadow weight."""
        return weight

    def extra_repr(self) -> str:
        """Return a text such as `dorefa, 3 bits`."""
        return f"{self.quantizer.name}, {self.bits} bits"


def quantize_network(
    model: nn.Module,
    bits: Mapping[str, int],
    quantizer: MethodLike,
    *,
    scaled: bool = False,
    learned: Mapping[str, LearnedBits] | None = None,
    masks: Mapping[str, Tensor] | None = None,
) -> None:
    """Quantize the weights that `bits` names (state-dict key -> 1 .. 8) with `quantizer`, in place.

    Reading `weight` gives the quantized value; `parametrizations.weight.original` is the trained parameter. scaled: fit
    a scale to each layer (see `Scale`); learned: by name, objects that give the bits instead; masks: by name, masks of
    pruned weights (see `QuantizedWeight`). Raises ConfigError for an unknown quantizer or bits out of range, before
    anything is changed.
    """
    method = quantizer_named(quantizer)
    for name, count in bits.items():
        check_bits(count, name)
    for name, count in bits.items():
        own, mask = (learned or {}).get(name), (masks or {}).get(name)
        part = QuantizedWeight(method, count, scaled=scaled, learned=own, mask=mask)
        weight = model.get_parameter(name)
        part.to(weight.device)
        part.scale(weight)
        put_on(model, name, part)


def quantized_weights(model: nn.Module) -> Iterator[tuple[str, nn.Module, str, QuantizedWeight]]:
    """Yield (state-dict key, owning module, its attribute, parametrization) of every quantized weight, each once."""
    seen: set[int] = set()
    for path, module in model.named_modules():
        for leaf, chain in getattr(module, "parametrizations", {}).items():
            if isinstance(chain[0], QuantizedWeight) and id(chain) not in seen:
                seen.add(id(chain))
                yield f"{path}.{leaf}".removeprefix("."), module, leaf, chain[0]


def refit_scales(model: nn.Module) -> dict[str, Scale]:
    """Return a new scale for each quantized weight, by name, fitted to its present values and used from now on."""
    shadows = {name: parametrizations(model, name).original.detach() for name, *_ in quantized_weights(model)}
    return {name: part.refit(shadows[name]) for name, _, _, part in quantized_weights(model)}


def is_quantized(model: nn.Module, name: str) -> bool:
    """Return whether `quantize_network` has quantized the weight `name` of `model`."""
    return is_parametrized_by(model, name, QuantizedWeight)


def take_levels(model: nn.Module, name: str) -> tuple[NDArray[np.floating], NDArray[np.unsignedinteger]]:
    """Remove the quantizer of a weight; return the levels in use (K',) and the indices, as the forward pass had them.

    The indices of pruned weights have no meaning.
    """
    chain = parametrizations(model, name)
    part: QuantizedWeight = chain[0]
    shadow = chain.original.detach()
    scale = part.scale(shadow)
    kept = part.kept(shadow) / scale.divisor
    levels = (part.quantizer.levels(kept, part.bits) * scale.factor).cpu().numpy()
    index = part.quantizer.indices(kept, part.bits)
    if part.mask is not None:
        index = torch.zeros_like(shadow, dtype=index.dtype).masked_scatter(part.mask, index)
    used, renumbered = np.unique(index.cpu().numpy(), return_inverse=True)
    take_off(model, name)
    return levels[used], renumbered.reshape(tuple(index.shape)).astype(np.uint8)  # at most 256 levels


def share_quantized(model: nn.Module) -> dict[str, tuple[NDArray[np.floating], NDArray[np.unsignedinteger]]]:
    """Turn every quantized weight into a shared weight with exactly the same values, in place.

    The shadow weights are dropped, and the levels in use become trainable codebooks (see `share_weight`). Returns
    (codebook (K',), indices in the weight's shape) by state-dict key.
    """
    shared = {}
    for name, *_ in list(quantized_weights(model)):
        shared[name] = take_levels(model, name)
        share_weight(model, name, *shared[name])
    return shared
