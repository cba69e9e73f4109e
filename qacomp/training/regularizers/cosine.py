"""R_C: the absolute cosine. Its K zeros are evenly spaced; the outermost lie half a step inside the range."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from qacomp.training.regularizers.base import register_regularizer
from qacomp.training.regularizers.periodic import PeriodicOptions, PeriodicPenalty


@dataclass(frozen=True)
class CosineOptions(PeriodicOptions):
    """Hyper-parameters of cos."""


@register_regularizer("cos", CosineOptions)
class Cosine(PeriodicPenalty):
    """ρ_C(x) = |cos(π K (x − w) / (W − w))|, K ≥ 2 (Malchiodi et al., section II-C)."""

    inset = 0.5

    def line(self) -> Tensor:
        """Return f = π K / (W − w) and z = w + (W − w) / 2K, the first zero, half a step inside the range: (2,)."""
        return torch.stack([math.pi * self.k / self.width(), self.bounds[0] + 0.5 * self.width() / self.k])
