"""Weights are shared once, when the fine-tuning has ended."""

from dataclasses import dataclass

from qacomp.options.sharing_ways.registry import SharingWay, register_sharing_way


@register_sharing_way("after")
@dataclass(frozen=True)
class AfterTraining(SharingWay):
    """K-means shares the trained weights, or the regularizer's representatives do."""
