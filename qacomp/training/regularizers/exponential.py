"""R_E: one minus the exponential of the negative distance to the nearest of K learned representatives."""

from dataclasses import dataclass

from qacomp.training.regularizers.base import register_regularizer
from qacomp.training.regularizers.learned_levels import LearnedLevels, LearnedLevelsOptions


@dataclass(frozen=True)
class ExponentialOptions(LearnedLevelsOptions):
    """Hyper-parameters of exp."""


@register_regularizer("exp", ExponentialOptions)
class Exponential(LearnedLevels):
    """ρ_E(x) = 1 − exp(−min_r |x − u_r|) (Malchiodi et al., section II-D)."""

    exponential = True
