"""R_S: the absolute sine, K evenly spaced static basins with one at each end of the range."""

import math
from typing import Self

import torch
from torch import Tensor

from qacomp.regularizers.base import Regularizer, register_regularizer
from qacomp.regularizers.uniform_range import uniform_range


@register_regularizer("sin")
class Sine(Regularizer):
    """ρ_S(x) = |sin(π (K − 1)(x − w) / (W − w))|, K ≥ 2 (Malchiodi et al., section II-C)."""

    default_strength = 1.0

    def __init__(self, k: int, low: float, high: float) -> None:
        super().__init__()
        self.k, self.low, self.high = k, low, high

    @classmethod
    def for_weights(cls, weight: Tensor, k: int) -> Self:
        """Range per layer: the uniform grid nearest to the weights."""
        return cls(k, *uniform_range(weight, k, inset=0.0))

    def forward(self, weight: Tensor) -> Tensor:
        """Mean of ρ_S over `weight` (any shape): scalar."""
        return torch.sin((weight - self.low) * (math.pi * (self.k - 1) / (self.high - self.low))).abs().mean()

    def levels(self) -> Tensor:
        """(K,): w, w + step, ..., W."""
        return torch.linspace(self.low, self.high, self.k)
