"""Declare `--sharing after`: weights are shared once, after the fine-tuning."""

from dataclasses import dataclass

from qacomp.options.sharing_ways.registry import SharingWay, register_sharing_way


@register_sharing_way("after")
@dataclass(frozen=True)
class AfterTraining(SharingWay):
    """Trained weights are shared by k-means, or get the shared values of the regularizer."""
