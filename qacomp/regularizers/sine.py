"""R_S: the absolute sine, K evenly spaced static basins with one at each end of the range."""

import math
from typing import Self

import torch
from torch import Tensor

from qacomp.regularizers.base import DEFAULT_OPTIONS, Regularizer, register_regularizer
from qacomp.regularizers.options import RegularizerOptions
from qacomp.regularizers.periodic import AbsoluteSineKernel
from qacomp.regularizers.uniform_range import static_range


@register_regularizer("sin")
class Sine(Regularizer):
    """ρ_S(x) = |sin(π (K − 1)(x − w) / (W − w))|, K ≥ 2 (Malchiodi et al., section II-C)."""

    inset = 0.0

    def __init__(self, k: int, low: float, high: float) -> None:
        super().__init__()
        self.k, self.low, self.high = k, low, high

    @classmethod
    def for_weights(cls, weight: Tensor, k: int, options: RegularizerOptions = DEFAULT_OPTIONS) -> Self:
        """Range per layer: the uniform grid nearest to the weights, or the range that the options give."""
        return cls(k, *static_range(weight, k, options.range, inset=cls.inset))

    @property
    def _frequency(self) -> float:
        return math.pi * (self.k - 1) / (self.high - self.low)

    def textbook(self, weight: Tensor) -> Tensor:
        """Mean of ρ_S over `weight` (any shape): scalar."""
        return torch.sin((weight - self.low) * self._frequency).abs().mean()

    def kernel(self) -> AbsoluteSineKernel:
        """ρ_S by blocks."""
        return AbsoluteSineKernel(self._frequency, self.low)

    def levels(self) -> Tensor:
        """(K,): w, w + step, ..., W."""
        return torch.linspace(self.low, self.high, self.k)
