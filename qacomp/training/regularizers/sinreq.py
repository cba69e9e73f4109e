"""SinReQ: a squared sine whose zeros are the levels of a uniform quantizer with b bits (Elthakeb et al., eq. 3)."""

import math
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from qacomp.options.declaration import NOT_NEGATIVE, Need, Option, option
from qacomp.options.regularizer_options import RegularizerOptions
from qacomp.training.regularizers.base import QuantizedLayer, Regularizer, register_regularizer
from qacomp.training.regularizers.sinreq_kernel import SquaredSineKernel

_LEARNED_BITS = (2.0, 8.0)
_QUANTIZERS = ("dorefa", "wrpn")


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
    learn_bits: bool = option(False, Option("Train each layer's bits, starting from 8."))
    bits_penalty: float = option(
        0.03,
        Option(
            "Weight of a layer's learned bits in the loss.",
            bounds=NOT_NEGATIVE,
            needs=(Need(lambda o: o.learn_bits, "without learn_bits=true"),),
        ),
    )

    @property
    def bits_learned(self) -> bool:
        """Return whether each layer's bits are trained."""
        return self.learn_bits

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

    Weights that are clamped are quantized to the outermost level, and their penalty is zero. With learned bits b is a
    parameter (2 .. 8); once b is rounded (`whole_bits`), the zeros are the levels of a quantizer.
    """

    bits: Tensor
    scale: Tensor

    def __init__(self, bits: float, domain: str, *, learn_bits: bool = False, bits_penalty: float = 0.0) -> None:
        super().__init__()
        self.domain, self.learn_bits, self.bits_penalty = domain, learn_bits, bits_penalty
        if learn_bits:
            self.bits = nn.Parameter(torch.tensor(float(bits)))
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
        penalty = cls(bits, domain, learn_bits=options.learn_bits, bits_penalty=options.bits_penalty)
        if domain == "wrpn" and quantized is not None:
            penalty.scale.fill_(quantized.unit)
        penalty.observe(weight)
        return penalty

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
        """Return (a, c) of (t + Δ)/step = a·t + c, differentiable in the bits: (2,)."""
        b = self.bits.clamp(*_LEARNED_BITS) if self.learn_bits else self.bits
        half = torch.full_like(b, 0.5)
        if self.binary:
            return torch.stack([half, half])
        if self.domain == "dorefa":
            return torch.stack([(2**b - 1) / 2, (2**b - 1) / 2])
        if self.domain == "wrpn":
            return torch.stack([2 ** (b - 1) - 1, torch.zeros_like(b)])
        if self.domain == "dorefa-raw":
            return torch.stack([2**b - 0.5, half])
        return torch.stack([2**b - 1, torch.zeros_like(b)])

    def reference(self, weight: Tensor) -> Tensor:
        """Return the mean of ρ over `weight` (any shape): scalar."""
        if self.binary or self.domain == "wrpn":
            t = (weight / self.scale).clamp(-1, 1)
        else:
            t = torch.tanh(weight) / self.scale if self.domain == "dorefa" else weight
        a, c = self.phase().to(weight.dtype)
        value: Tensor = torch.sin(math.pi * (a * t + c)).square().mean()
        return value

    def kernel(self) -> SquaredSineKernel:
        """Return the kernel of ρ."""
        a, c = self.phase().tolist()
        clamped = self.binary or self.domain == "wrpn"
        transform = "clamp" if clamped else "tanh" if self.domain == "dorefa" else "none"
        scale = 1.0 if transform == "none" else self.scale.item()
        return SquaredSineKernel(a, c, transform, scale, self.learn_bits)

    def kernel_parameters(self) -> Tensor | None:
        """Return (a, c) of the phase if bits are learned, (2,), else None."""
        return self.phase() if self.learn_bits else None

    def extra_penalty(self) -> Tensor | None:
        """Return `bits_penalty` · b if bits are learned, a scalar, else None."""
        return self.bits_penalty * self.bits.clamp_min(_LEARNED_BITS[0]) if self.learn_bits else None

    def finalize(self) -> None:
        """Round the learned bits, so that the zeros are the levels of a quantizer; from now on they are fixed."""
        with torch.no_grad():
            self.bits.fill_(self.whole_bits())
        self.bits.requires_grad_(False)

    def whole_bits(self) -> int:
        """Return b rounded to an integer from 1 to 8."""
        return round(min(max(self.bits.item(), 1.0), _LEARNED_BITS[1]))

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
