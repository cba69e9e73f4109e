"""R_C: the absolute cosine, K evenly spaced static basins that lie half a step inside the range."""

import math
from typing import Self

import torch
from torch import Tensor

from qacomp.regularizers.base import DEFAULT_OPTIONS, Regularizer, register_regularizer
from qacomp.regularizers.options import RegularizerOptions
from qacomp.regularizers.periodic import AbsoluteSineKernel
from qacomp.regularizers.uniform_range import static_range


@register_regularizer("cos")
class Cosine(Regularizer):
    """ρ_C(x) = |cos(π K (x − w) / (W − w))|, K ≥ 2 (Malchiodi et al., section II-C)."""

    inset = 0.5

    def __init__(self, k: int, low: float, high: float) -> None:
        super().__init__()
        self.k, self.low, self.high = k, low, high

    @classmethod
    def for_weights(cls, weight: Tensor, k: int, options: RegularizerOptions = DEFAULT_OPTIONS) -> Self:
        """Range per layer: the uniform grid nearest to the weights, widened by half a step at each end; or as given."""
        return cls(k, *static_range(weight, k, options.range, inset=cls.inset))

    @property
    def _frequency(self) -> float:
        return math.pi * self.k / (self.high - self.low)

    def textbook(self, weight: Tensor) -> Tensor:
        """Mean of ρ_C over `weight` (any shape): scalar."""
        return torch.cos((weight - self.low) * self._frequency).abs().mean()

    def kernel(self) -> AbsoluteSineKernel:
        """ρ_C by blocks: the cosine is a sine that begins half a step inside the range."""
        return AbsoluteSineKernel(self._frequency, self.low + 0.5 * (self.high - self.low) / self.k)

    def levels(self) -> Tensor:
        """(K,): w + step/2, w + 3·step/2, ..., W − step/2, with step = (W − w)/K."""
        return self.low + (torch.arange(self.k) + 0.5) * ((self.high - self.low) / self.k)
