"""Declare the options of distillation."""

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
            "Learn from the outputs of a teacher: the original network (kd) or, for each sub-model, the largest one "
            "(ipkd), the next larger one (ta-1) or all larger ones (ta-m).",
            _DISTILLATION,
            brief="Learn from the original (kd), or ipkd, ta-1, ta-m",
            methods="qacomp.training.teaching:DISTILLATION",
            needs=(needs.TRAINED,),
            idle=NO_METHOD,
        ),
    )
