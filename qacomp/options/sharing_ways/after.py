"""Declare `--sharing after`: weights are shared once, after the fine-tuning.

Without a regularizer `--epochs` then fine-tunes on the task alone: the baseline to which a regularizer is compared.
"""

from dataclasses import dataclass

from qacomp.options.sharing_ways.registry import SharingWay, register_sharing_way


@register_sharing_way("after")
@dataclass(frozen=True)
class AfterTraining(SharingWay):
    """Trained weights are shared by k-means, or get the shared values of the regularizer."""
