"""Declare the options of pruning, which comes before the fine-tuning."""

from dataclasses import dataclass

from qacomp.options.declaration import Option, option
from qacomp.options.method import NO_METHOD, MethodChoice

_PRUNING = "Pruning"


@dataclass(frozen=True, kw_only=True)
class PruningOptions:
    """How the network is pruned and retrained."""

    prune: MethodChoice = option(
        NO_METHOD,
        Option(
            "Prune and retrain first: filters with EPruning's search (energy), or weights or filters by magnitude.",
            _PRUNING,
            brief="Prune first: magnitude:rate=0.9, or energy",
            methods="qacomp.training.pruning.methods:PRUNERS",
        ),
    )
