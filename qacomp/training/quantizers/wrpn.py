"""WRPN's weight quantizer: 2^b − 1 equally spaced levels from −1 to 1, with zero among them."""

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

_CANDIDATES = 40  # clipping points that are tried to find the scale


@dataclass(frozen=True)
class WRPNOptions(QuantizerOptions):
    """Hyper-parameters of wrpn."""


@register_quantizer("wrpn", WRPNOptions)
class WRPN(Quantizer):
    """w_q = round((2^(b−1) − 1)·w)/(2^(b−1) − 1), w clamped to [−1, 1] (Mishra et al., 2018, section 4).

    With one bit that formula has zero as its only level, so sign(w)·mean|w| is used.
    """

    idempotent = True

    def levels(self, weight: Tensor, bits: int) -> Tensor:
        """Return i/(2^(b−1) − 1) for i = −(2^(b−1) − 1) .. 2^(b−1) − 1; one bit: ±mean|w|."""
        if bits == 1:
            return binary_levels(weight)
        steps = 2 ** (bits - 1) - 1
        levels: Tensor = torch.arange(-steps, steps + 1, dtype=weight.dtype, device=weight.device) / steps
        return levels

    def indices(self, weight: Tensor, bits: int) -> Tensor:
        """Return round((2^(b−1) − 1)·w) + 2^(b−1) − 1: int64, in the weight's shape."""
        if bits == 1:
            return binary_indices(weight)
        steps = 2 ** (bits - 1) - 1
        index: Tensor = torch.round(steps * weight.clamp(-1, 1)).long() + steps
        return index

    def fit_scale(self, weight: Tensor, bits: int) -> Scale:
        """Return Scale(c, c) with the best clipping point c of 40 equal fractions of the largest |weight|."""
        detached = weight.detach()
        largest = float(detached.abs().max())
        if bits == 1 or largest == 0:
            return UNIT
        clips = [largest * (i + 1) / _CANDIDATES for i in range(_CANDIDATES)]
        errors = [float((self.quantize(detached, bits, Scale(c, c)) - detached).square().mean()) for c in clips]
        best = clips[errors.index(min(errors))]
        return Scale(best, best)
