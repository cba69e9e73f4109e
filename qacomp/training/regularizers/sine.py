"""R_S: the absolute sine. Its K zeros are evenly spaced, with one at each end of the range."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from qacomp.training.regularizers.base import register_regularizer
from qacomp.training.regularizers.periodic import PeriodicOptions, PeriodicPenalty


@dataclass(frozen=True)
class SineOptions(PeriodicOptions):
    """Hyper-parameters of sin."""


@register_regularizer("sin", SineOptions)
class Sine(PeriodicPenalty):
    """ρ_S(x) = |sin(π (K − 1)(x − w) / (W − w))|, K ≥ 2 (Malchiodi et al., section II-C)."""

    inset = 0.0

    def line(self) -> Tensor:
        """Return f = π (K − 1) / (W − w) and z = w: the first zero lies at w, the last at W: (2,)."""
        return torch.stack([math.pi * (self.k - 1) / self.width(), self.bounds[0]])
