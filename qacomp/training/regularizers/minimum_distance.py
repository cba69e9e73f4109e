"""R_M: the squared distance to the nearest of K learned representatives."""

from qacomp.training.regularizers.base import register_regularizer
from qacomp.training.regularizers.learned_levels import LearnedLevels


@register_regularizer("min")
class MinimumDistance(LearnedLevels):
    """ρ_M(x) = min_r (x − u_r)² (Malchiodi et al., section II-D)."""

    exponential = False
