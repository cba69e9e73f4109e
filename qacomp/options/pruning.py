"""Declare the options of pruning, which comes before the fine-tuning."""

from dataclasses import dataclass

from qacomp.options import needs
from qacomp.options.declaration import NOT_NEGATIVE, Bounds, Option, option
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
            basic=True,
            methods="qacomp.training.pruning.methods:PRUNERS",
        ),
    )
    prune_rate: float | None = option(
        None,
        Option(
            "Fraction of the parameters to remove.",
            _PRUNING,
            basic=True,
            bounds=Bounds(0, 1, open_low=True, open_high=True),
            needs=(needs.PRUNED,),
            shown="0.5 for magnitude; energy finds its own",
        ),
    )
    prune_epochs: int | None = option(
        None,
        Option(
            "Epochs of pruning and retraining.",
            _PRUNING,
            bounds=NOT_NEGATIVE,
            needs=(needs.PRUNED,),
            idle=0,
            shown="about 3,000 steps",
        ),
    )
