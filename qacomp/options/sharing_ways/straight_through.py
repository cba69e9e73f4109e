"""The forward pass of the fine-tuning uses the shared weights, the gradient passes to the weights behind them."""

from dataclasses import dataclass

from qacomp.options.declaration import NOT_NEGATIVE, Option, option
from qacomp.options.sharing_ways.registry import SharingWay, register_sharing_way


@register_sharing_way("straight-through")
@dataclass(frozen=True)
class StraightThroughWay(SharingWay):
    """Hyper-parameters of `qacomp.training.parametrizations.straight_through`."""

    entropy: float = option(
        0.0,
        Option("Weight of the indices' entropy. More makes the file smaller.", bounds=NOT_NEGATIVE),
    )

    @property
    def in_training(self) -> bool:
        """Return True."""
        return True

    @property
    def moves_boundaries(self) -> bool:
        """Return whether weights go to cheaper shared values than their nearest."""
        return self.entropy > 0
