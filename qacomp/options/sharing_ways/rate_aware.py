"""Weights go on uniform grids whose steps give the smallest file at a quality, or the best model of a size."""

from dataclasses import dataclass

from qacomp.options.declaration import Option, option
from qacomp.options.sharing_ways.registry import SharingWay, register_sharing_way


@register_sharing_way("rate")
@dataclass(frozen=True)
class RateAwareWay(SharingWay):
    """Hyper-parameters of `qacomp.rate`."""

    tuned: bool = option(
        True, Option("Train shared values, norms and biases a little towards the original's outputs, without labels.")
    )
