"""SinReQ: a squared sine whose zeros are the levels of a uniform quantizer with b bits (Elthakeb et al., eq. 3)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn

from qacomp.options.declaration import NOT_NEGATIVE, Need, Option, option
from qacomp.options.regularizer_options import RegularizerOptions
from qacomp.training.regularizers.base import QuantizedLayer, Regularizer, register_regularizer
from qacomp.training.regularizers.sinreq_kernel import SquaredSineKernel

_LEARNED_BITS = (2.0, 8.0)
_SETTLED = 2 / 3
"""Part of the training after which learned bits are rounded and fixed, so that weights settle on their levels."""
_QUANTIZERS = ("dorefa", "wrpn")


_LEARNED = Need(lambda o: o.learn_bits, "without learn_bits=true")


@dataclass(frozen=True)
class SinReQOptions(RegularizerOptions):
    """Hyper-parameters of sinreq."""

    domain: str = option(
        "auto",
        Option(
            "Quantizer whose levels are the penalty's zeros; -raw: the formula as printed in the paper.",
            choices=("auto", *_QUANTIZERS, "dorefa-raw", "wrpn-raw"),
            shown="the quantizer's, else dorefa",
        ),
    )
    learn_bits: bool = option(False, Option("Train each layer's bits, 8 to 2, by what they cost the task."))
    bits_penalty: float = option(
        0.03, Option("Weight of the learned bits in the loss.", bounds=NOT_NEGATIVE, needs=(_LEARNED,))
    )
    bits_count: str = option(
        "weights",
        Option(
            "A layer's learned bits count by its share of the weights, or alike in all layers.",
            choices=("weights", "layers"),
            needs=(_LEARNED,),
        ),
    )

    @property
    def bits_learned(self) -> bool:
        """Return whether each layer's bits are trained."""
        return self.learn_bits

    @property
    def bits_price(self) -> float:
        """Return the weight of the learned bits in the loss."""
        return self.bits_penalty

    @property
    def own_quantizer(self) -> str | None:
        """Return the quantizer of the domain, whose forward pass teaches the bits; None if they aren't learned."""
        domain = "dorefa" if self.domain == "auto" else self.domain.removesuffix("-raw")
        return domain if self.learn_bits else None

    @property
    def levels_vary(self) -> bool:
        """Return whether the zeros change in training: with learned bits, and by the weights in the paper's formula."""
        return self.learn_bits or self.domain.endswith("raw")


@register_regularizer("sinreq", SinReQOptions)
class SinReQ(Regularizer):
    """ρ(w) = sin²(π (t(w) + Δ) / step); mean |w| and max |w| in t are constants without gradient in each step.

    Elthakeb et al. (SinReQ, eq. 3 and algorithm 1), in the domain of the quantizer that the weights are trained for.
    So the zeros of ρ are the quantizer's levels, and its maxima are the midpoints between them:

    - dorefa: t = tanh(w) / max |tanh w|, levels −1 + 2i/(2^b − 1): mid-rise;
    - wrpn: t = w (over the quantizer's unit) clamped to [−1, 1], levels i/(2^(b−1) − 1): mid-tread;
    - either, one bit: t = w / mean |w| clamped to [−1, 1], levels ±1;
    - dorefa-raw, wrpn-raw: t = w, and the paper's step = 1/(2^b − 0.5) with Δ = step/2, or 1/(2^b − 1) with Δ = 0.

    Weights that are clamped are quantized to the outermost level, and their penalty is zero.

    Learned bits are a parameter b (2 .. 8). The quantizer's forward pass teaches it what a bit is worth (see
    `qacomp.training.parametrizations.quantized`), and the price what it costs. ρ has its zeros at the levels for b
    rounded, and grows with the square of the step: so at every b λ pulls the weights the same part of a step.
    `progress`: the part of the training that is done.
    """

    bits: Tensor
    scale: Tensor
    progress: Tensor

    def __init__(self, bits: float, domain: str, *, learn_bits: bool = False, bits_price: float = 0.0) -> None:
        super().__init__()
        self.domain, self.learn_bits, self.bits_price = domain, learn_bits, bits_price
        if learn_bits:
            self.bits = nn.Parameter(torch.tensor(float(bits)))
            self.register_buffer("progress", torch.zeros((), dtype=torch.float64))
        else:
            self.register_buffer("bits", torch.tensor(float(bits)))
        self.binary = bits == 1 and not learn_bits and not domain.endswith("raw")
        self.register_buffer("scale", torch.ones(()))  # max |tanh w|, mean |w|, unit or max |w|, by domain

    @classmethod
    def for_weights(
        cls, weight: Tensor, k: int, options: SinReQOptions, quantized: QuantizedLayer | None = None
    ) -> Self:
        """Return a penalty with the quantizer's bits, or with 8 if bits are learned. Otherwise k gives the bits b.

        dorefa has k = 2^b levels; wrpn has 2^b − 1 levels, the largest odd number up to k.
        """
        domain = options.domain
        if domain == "auto":
            domain = quantized.method if quantized is not None and quantized.method in _QUANTIZERS else "dorefa"
        if options.learn_bits:
            bits = _LEARNED_BITS[1]
        elif quantized is not None:
            bits = float(quantized.bits)
        elif domain.startswith("wrpn") and k > 2:
            bits = math.log2(k + k % 2)
        else:
            bits = math.log2(k)
        penalty = cls(bits, domain, learn_bits=options.learn_bits, bits_price=options.bits_penalty)
        if domain == "wrpn" and quantized is not None:
            penalty.scale.fill_(quantized.unit)
        penalty.observe(weight)
        return penalty

    @classmethod
    def for_layers(
        cls,
        weights: Mapping[str, Tensor],
        ks: Mapping[str, int],
        options: Any,
        quantized: Mapping[str, QuantizedLayer],
    ) -> dict[str, Regularizer]:
        """Return each layer's penalty; learned bits cost bits_penalty · L · n/N in a layer of n of all N weights."""
        found: dict[str, Regularizer] = super().for_layers(weights, ks, options, quantized)
        total = sum(w.numel() for w in weights.values())
        for name, penalty in found.items():
            if isinstance(penalty, SinReQ) and options.bits_count == "weights":
                penalty.weigh(len(weights) * weights[name].numel() / total)
        return found

    def observe(self, weight: Tensor) -> None:
        """Update the domain's scale (max |tanh w|, mean |w| or max |w|) from the layer's weights."""
        values = weight.detach()
        if self.binary:
            scale = values.abs().mean()
        elif self.domain == "wrpn":
            return
        else:
            scale = torch.stack(torch.aminmax(values)).abs().max()
            if self.domain == "dorefa":
                scale = torch.tanh(scale)
        self.scale = scale.clamp_min(torch.finfo(torch.float32).tiny).to(self.scale)

    def phase(self) -> Tensor:
        """Return (a, c) of (t + Δ)/step = a·t + c: (2,)."""
        bits = float(self.whole_bits()) if self.learn_bits else self.bits.item()
        return self.bits.new_tensor((0.5, 0.5) if self.binary else _phase(self.domain, bits))

    def reference(self, weight: Tensor) -> Tensor:
        """Return the mean of ρ over `weight` (any shape): scalar."""
        if self.binary or self.domain == "wrpn":
            t = (weight / self.scale).clamp(-1, 1)
        else:
            t = torch.tanh(weight) / self.scale if self.domain == "dorefa" else weight
        a, c = self.phase().to(weight.dtype)
        value: Tensor = self.gain() * torch.sin(math.pi * (a * t + c)).square().mean()
        return value

    def gain(self) -> float:
        """Return the factor on ρ: with learned bits the square of (step of b bits / step of 8 bits); else 1."""
        if not self.learn_bits:
            return 1.0
        return (_phase(self.domain, _LEARNED_BITS[1])[0] / _phase(self.domain, self.whole_bits())[0]) ** 2

    def kernel(self) -> SquaredSineKernel:
        """Return the kernel of ρ."""
        a, c = self.phase().tolist()
        clamped = self.binary or self.domain == "wrpn"
        transform = "clamp" if clamped else "tanh" if self.domain == "dorefa" else "none"
        scale = 1.0 if transform == "none" else self.scale.item()
        return SquaredSineKernel(a, c, transform, scale, self.gain())

    def extra_penalty(self) -> Tensor | None:
        """Return the price of the bits while they are learned, a scalar, else None."""
        return self.bits_price * self.bits if self.learn_bits and self.bits.requires_grad else None

    def weigh(self, factor: float) -> None:
        """Multiply the price of the bits."""
        self.bits_price *= factor

    def fit(self, unit: float) -> None:
        """Take over the weight that the quantizer, fitted to other bits, maps to 1."""
        if self.domain == "wrpn":
            self.scale.fill_(unit)

    def advance(self, part: float) -> None:
        """Keep learned bits within 2 .. 8 after a step, which is this part of the training; fix them in the last third.

        Otherwise a bit that changes late would leave weights between the levels.
        """
        with torch.no_grad():
            self.bits.clamp_(*_LEARNED_BITS)
        self.progress += part
        if self.progress > _SETTLED:
            self.finalize()

    def finalize(self) -> None:
        """Round the learned bits, so that the zeros are the levels of a quantizer; from now on they are fixed."""
        with torch.no_grad():
            self.bits.fill_(self.whole_bits())
        self.bits.requires_grad_(False)

    def whole_bits(self) -> int:
        """Return b rounded to an integer: from 2 to 8 if bits are learned, else from 1 to 8."""
        low, high = _LEARNED_BITS if self.learn_bits else (1.0, _LEARNED_BITS[1])
        return round(min(max(self.bits.item(), low), high))

    def representatives(self) -> Tensor:
        """Return the zeros of ρ within the domain, as weights: (K,) float32, ascending."""
        a, c = self.phase().detach().double().tolist()
        scale = self.scale.item()
        reach = scale if self.domain.endswith("raw") else 1.0
        ends = math.ceil(c - a * reach - 1e-6), math.floor(c + a * reach + 1e-6)
        first, last = min(ends), max(ends)  # if no zero lies inside, the two next to the domain
        t = (torch.arange(first, last + 1, dtype=torch.float64) - c) / a  # (K,)
        if self.binary or self.domain == "wrpn":
            t = t * scale
        elif self.domain == "dorefa":
            t = torch.atanh((t * scale).clamp(-1 + 1e-7, 1 - 1e-7))
        levels: Tensor = t.float().to(self.scale.device)
        return levels


def _phase(domain: str, bits: float) -> tuple[float, float]:
    """Return (a, c) of (t + Δ)/step = a·t + c for two bits or more, and for any number of bits in a raw domain."""
    if domain == "dorefa":
        return (2**bits - 1) / 2, (2**bits - 1) / 2
    if domain == "wrpn":
        return 2 ** (bits - 1) - 1, 0.0
    return (2**bits - 0.5, 0.5) if domain == "dorefa-raw" else (2**bits - 1, 0.0)
