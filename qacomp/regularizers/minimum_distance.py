"""R_M: the squared distance to the nearest of K learned representatives."""

from qacomp.regularizers.base import register_regularizer
from qacomp.regularizers.learned_levels import LearnedLevels


@register_regularizer("min")
class MinimumDistance(LearnedLevels):
    """ρ_M(x) = min_r (x − u_r)² (Malchiodi et al., section II-D)."""

    exponential = False
