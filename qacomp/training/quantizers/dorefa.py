"""DoReFa-Net's weight quantizer: 2^b equally spaced levels from −1 to 1, assigned by tanh(w)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from qacomp.training.quantizers.base import (
    UNIT,
    Quantizer,
    QuantizerOptions,
    Scale,
    binary_indices,
    binary_levels,
    register_quantizer,
)


@dataclass(frozen=True)
class DoReFaOptions(QuantizerOptions):
    """Hyper-parameters of dorefa."""


@register_quantizer("dorefa", DoReFaOptions)
class DoReFa(Quantizer):
    """w_q = 2·round((2^b − 1)·u)/(2^b − 1) − 1, u = tanh(w)/(2 max|tanh w|) + ½ (Zhou et al., 2016, eq. 9).

    With one bit it is sign(w)·mean|w| (eq. 8). The levels lie in [−1, 1] for weights of any scale; in the paper batch
    norms correct the scale.
    """

    idempotent = False  # tanh is applied again

    def levels(self, weight: Tensor, bits: int) -> Tensor:
        """Return −1 + 2i/(2^b − 1) for i = 0 .. 2^b − 1; one bit: ±mean|w|."""
        if bits == 1:
            return binary_levels(weight)
        steps = 2**bits - 1
        levels: Tensor = 2 * torch.arange(steps + 1, dtype=weight.dtype, device=weight.device) / steps - 1
        return levels

    def indices(self, weight: Tensor, bits: int) -> Tensor:
        """Return round((2^b − 1)·u): int64, in the weight's shape."""
        if bits == 1:
            return binary_indices(weight)
        t = torch.tanh(weight)
        u = t / (2 * t.abs().max().clamp_min(torch.finfo(t.dtype).tiny)) + 0.5
        return torch.round((2**bits - 1) * u).long()

    def fit_scale(self, weight: Tensor, bits: int) -> Scale:
        """Return Scale(1, ⟨w, q⟩ / ⟨q, q⟩), q the quantized weights; u is normalized, so no divisor is fitted."""
        if bits == 1:
            return UNIT
        q = self.quantize(weight, bits)
        factor = float((weight.detach() * q).sum() / q.square().sum().clamp_min(torch.finfo(q.dtype).tiny))
        return Scale(1.0, factor) if factor > 0 else UNIT
