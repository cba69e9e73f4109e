"""Options of distillation: who teaches, and how much that counts."""

from dataclasses import dataclass

from qacomp.options import needs
from qacomp.options.declaration import Option, option
from qacomp.options.method import NO_METHOD, MethodChoice

_DISTILLATION = "Distillation"


@dataclass(frozen=True, kw_only=True)
class DistillingOptions:
    """How the network learns from the original, and sub-models from larger ones."""

    distill: MethodChoice = option(
        MethodChoice("kd"),
        Option(
            "Learn from the original network's outputs (kd), or as sub-models of which the original is the largest: "
            "from it (ipkd), from the next larger one (ta-1) or from all larger ones (ta-m).",
            _DISTILLATION,
            methods="qacomp.training.distillation:DISTILLATION",
            needs=(needs.TRAINED,),
            idle=NO_METHOD,
        ),
    )
