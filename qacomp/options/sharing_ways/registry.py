"""The table of ways of sharing: a frozen dataclass each, which declares the hyper-parameters and says what they ask.

What a way does to weights stands where it is done: k-means in `qacomp.training.share_network`, straight-through sharing
in `qacomp.training.parametrizations`. The checks of all settings read what stands here, so nothing here needs torch.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from qacomp.options.method_table import MethodTable
from qacomp.options.registry import Registry


@dataclass(frozen=True)
class SharingWay:
    """Hyper-parameters of a way that has none, from which each way's own are derived."""

    @property
    def in_training(self) -> bool | None:
        """Return whether the forward pass of the fine-tuning uses the shared weights; None: the other settings say."""
        return False

    @property
    def moves_boundaries(self) -> bool:
        """Return whether a weight may take another shared value than the nearest, which those of --levels can't."""
        return False


W = TypeVar("W", bound=type[SharingWay])
SHARING_WAYS: MethodTable[type[SharingWay]] = MethodTable(
    "sharing",
    SharingWay,
    Registry("way of sharing", "qacomp.options.sharing_ways", ""),
    optional=False,
)


def register_sharing_way(name: str) -> Callable[[W], W]:
    """Return a decorator that makes a dataclass derived from SharingWay known as `--sharing NAME`."""

    def add(way: W) -> W:
        SHARING_WAYS.register(name, way)(way)
        return way

    return add
