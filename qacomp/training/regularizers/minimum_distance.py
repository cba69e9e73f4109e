"""R_M: the squared distance to the nearest of K learned representatives."""

from dataclasses import dataclass

from qacomp.training.regularizers.base import register_regularizer
from qacomp.training.regularizers.learned_levels import LearnedLevels, LearnedLevelsOptions


@dataclass(frozen=True)
class MinimumDistanceOptions(LearnedLevelsOptions):
    """Hyper-parameters of min."""


@register_regularizer("min", MinimumDistanceOptions)
class MinimumDistance(LearnedLevels):
    """ρ_M(x) = min_r (x − u_r)² (Malchiodi et al., section II-D)."""

    exponential = False
