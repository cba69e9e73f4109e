"""The other settings choose between after and straight-through."""

from dataclasses import dataclass

from qacomp.options.sharing_ways.registry import SharingWay, register_sharing_way


@register_sharing_way("auto")
@dataclass(frozen=True)
class Automatic(SharingWay):
    """Straight-through beside a regularizer, --levels or sub-models that teach each other; after for the rest."""

    @property
    def in_training(self) -> None:
        """Return None: `qacomp.options.needs.shares_in_training` knows the other settings."""
        return None
