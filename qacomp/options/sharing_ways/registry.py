"""Keep the table of ways of sharing; each is a frozen dataclass that declares its hyper-parameters.

The code that shares weights is elsewhere: k-means in `qacomp.training.share_network`, straight-through sharing in
`qacomp.training.parametrizations`. The checks of all settings read this table, so it doesn't need torch.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from qacomp.options.method_table import MethodTable
from qacomp.options.registry import Registry


@dataclass(frozen=True)
class SharingWay:
    """The base class of each way's hyper-parameters; it has none itself."""

    @property
    def in_training(self) -> bool | None:
        """Return whether the forward pass of the fine-tuning uses shared weights; None: the other settings decide."""
        return False

    @property
    def moves_boundaries(self) -> bool:
        """Return whether a weight may get another shared value than the nearest one, which --levels don't allow."""
        return False


W = TypeVar("W", bound=type[SharingWay])
SHARING_WAYS: MethodTable[type[SharingWay]] = MethodTable(
    "sharing",
    SharingWay,
    Registry("way of sharing", "qacomp.options.sharing_ways", ""),
    optional=False,
)


def register_sharing_way(name: str) -> Callable[[W], W]:
    """Return a decorator that registers a dataclass derived from SharingWay as `--sharing NAME`."""

    def add(way: W) -> W:
        SHARING_WAYS.register(name, way)(way)
        return way

    return add
