"""R_M: the squared distance to the nearest of K learned representatives."""

from torch import Tensor

from qacomp.regularizers.base import register_regularizer
from qacomp.regularizers.learned_levels import LearnedLevels
from qacomp.regularizers.nearest import NearestPenalty


@register_regularizer("min")
class MinimumDistance(LearnedLevels):
    """ρ_M(x) = min_r (x − u_r)² (Malchiodi et al., section II-D)."""

    default_strength = 1000.0

    def forward(self, weight: Tensor) -> Tensor:
        """Mean of ρ_M over `weight` (any shape): scalar."""
        value: Tensor = NearestPenalty.apply(weight, self.levels(), False)  # type: ignore[no-untyped-call]
        return value
