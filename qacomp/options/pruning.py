"""Options of pruning, which comes before the fine-tuning."""

from dataclasses import dataclass

from qacomp.options import needs
from qacomp.options.declaration import NOT_NEGATIVE, POSITIVE, Bounds, Option, option

_PRUNING = "Pruning"


@dataclass(frozen=True, kw_only=True)
class PruningOptions:
    """What is pruned, and how the network is retrained."""

    prune: str = option(
        "none",
        Option(
            "Prune and retrain first: filters by EPruning's search (energy), or weights or filters by magnitude.",
            _PRUNING,
            basic=True,
            choices=("none", "energy", "magnitude"),
        ),
    )
    prune_rate: float | None = option(
        None,
        Option(
            "Share of the parameters that goes.",
            _PRUNING,
            basic=True,
            bounds=Bounds(0, 1, open_low=True, open_high=True),
            needs=(needs.PRUNED,),
            shown="magnitude 0.5; energy finds its own",
        ),
    )
    prune_unit: str = option(
        "weight",
        Option("What magnitude prunes.", _PRUNING, choices=("weight", "filter"), needs=(needs.BY_MAGNITUDE,)),
    )
    prune_scope: str = option(
        "layer",
        Option(
            "Rank magnitudes within each layer, or over all layers.",
            _PRUNING,
            choices=("layer", "global"),
            needs=(needs.BY_MAGNITUDE,),
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
    prune_objective: str = option(
        "energy",
        Option(
            "What energy pruning's states are judged by.",
            _PRUNING,
            choices=("energy", "cross-entropy"),
            needs=(needs.BY_ENERGY,),
        ),
    )
    prune_start: str = option(
        "magnitude",
        Option(
            "First states of energy pruning: near magnitude's own, or drawn at random as in the paper.",
            _PRUNING,
            choices=("magnitude", "random"),
            needs=(needs.BY_ENERGY,),
        ),
    )
    prune_parents: str = option(
        "rescore",
        Option(
            "Score the states of energy pruning again on every batch, or keep their scores as in the paper.",
            _PRUNING,
            choices=("rescore", "keep"),
            needs=(needs.BY_ENERGY,),
        ),
    )
    population: int = option(
        8,
        Option(
            "How many states evolve in energy pruning; the evolution crosses three.",
            _PRUNING,
            bounds=Bounds(3),
            needs=(needs.BY_ENERGY,),
        ),
    )
    stagnation: int | None = option(
        None,
        Option(
            "Epochs after which the best state of energy pruning is frozen.",
            _PRUNING,
            bounds=POSITIVE,
            needs=(needs.BY_ENERGY,),
            shown="a third of them",
        ),
    )
