"""Declare `--sharing straight-through`: the forward pass of the fine-tuning uses shared weights.

The gradient passes through the sharing to the full-precision weights.
"""

from dataclasses import dataclass

from qacomp.options.declaration import NOT_NEGATIVE, Option, option
from qacomp.options.sharing_ways.registry import SharingWay, register_sharing_way


@register_sharing_way("straight-through")
@dataclass(frozen=True)
class StraightThroughWay(SharingWay):
    """Hyper-parameters of `qacomp.training.parametrizations.straight_through`."""

    entropy: float = option(
        0.0,
        Option("Weight of the entropy of indices in the assignment; more gives a smaller file.", bounds=NOT_NEGATIVE),
    )

    @property
    def in_training(self) -> bool:
        """Return True."""
        return True

    @property
    def moves_boundaries(self) -> bool:
        """Return whether weights may get shared values that are farther but take fewer bits."""
        return self.entropy > 0
