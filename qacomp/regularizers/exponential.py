"""R_E: one minus the exponential of the negative distance to the nearest of K learned representatives."""

from torch import Tensor

from qacomp.regularizers.base import register_regularizer
from qacomp.regularizers.learned_levels import LearnedLevels
from qacomp.regularizers.nearest import NearestPenalty


@register_regularizer("exp")
class Exponential(LearnedLevels):
    """ρ_E(x) = 1 − exp(−min_r |x − u_r|) (Malchiodi et al., section II-D)."""

    default_strength = 30.0

    def forward(self, weight: Tensor) -> Tensor:
        """Mean of ρ_E over `weight` (any shape): scalar in [0, 1)."""
        value: Tensor = NearestPenalty.apply(weight, self.levels(), True)  # type: ignore[no-untyped-call]
        return value
