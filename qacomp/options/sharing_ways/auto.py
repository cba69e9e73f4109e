"""Declare `--sharing auto`, which chooses between after and straight-through by the other settings."""

from dataclasses import dataclass

from qacomp.options.sharing_ways.registry import SharingWay, register_sharing_way


@register_sharing_way("auto")
@dataclass(frozen=True)
class Automatic(SharingWay):
    """Straight-through with a regularizer, with --levels or with sub-models that learn from each other; else after."""

    @property
    def in_training(self) -> None:
        """Return None, since `qacomp.options.needs.shares_in_training` decides by the other settings."""
        return None
