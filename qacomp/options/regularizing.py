"""Declare the options of the regularizers: which one, its strength and its schedule."""

from collections.abc import Mapping
from dataclasses import dataclass

from qacomp.options import needs
from qacomp.options.declaration import NOT_NEGATIVE, Option, by_layer, option
from qacomp.options.method import NO_METHOD, MethodChoice

_REGULARIZER = "Regularizer of the fine-tuning"


@dataclass(frozen=True, kw_only=True)
class RegularizingOptions:
    """The regularizer that pulls weights into clusters during the fine-tuning."""

    reg: MethodChoice = option(
        NO_METHOD,
        Option(
            "Fine-tune with a regularizer that pulls each layer's weights into clusters: sin, cos, min, exp, sinreq.",
            _REGULARIZER,
            brief="Pull weights into clusters: exp, sin, cos, min, sinreq",
            methods="qacomp.training.regularizers.base:REGULARIZERS",
            needs=(needs.REGULARIZED,),
        ),
    )
    strength: float | None = option(
        None,
        Option(
            "λ of the papers: one number for all layers, or conv1=2 for a single layer.",
            _REGULARIZER,
            bounds=NOT_NEGATIVE,
            needs=(needs.REGULARIZER,),
            shown="balanced for each layer, see --pull",
            metavar="λ",
        ),
    )
    strength_layers: Mapping[str, float] = by_layer("strength", needs.REGULARIZER)
    pull: float = option(
        4.0,
        Option(
            "Strength of the balanced λ: how strongly weights are pulled to their shared values.",
            _REGULARIZER,
            bounds=NOT_NEGATIVE,
            needs=(needs.PULL,),
        ),
    )
    schedule: MethodChoice = option(
        MethodChoice("warmup"),
        Option(
            "Schedule of λ: a linear warmup from 0, constant, or a rise along tanh.",
            _REGULARIZER,
            methods="qacomp.training.regularizers.schedule:SCHEDULES",
            needs=(needs.REGULARIZER,),
        ),
    )
