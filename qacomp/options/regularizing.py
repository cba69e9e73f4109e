"""Declare the options of the regularizers: which one, its strength and its schedule."""

from collections.abc import Mapping
from dataclasses import dataclass

from qacomp.options import needs
from qacomp.options.declaration import FRACTION, NOT_NEGATIVE, POSITIVE, Option, by_layer, option
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
            basic=True,
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
    schedule: str = option(
        "warmup",
        Option("Schedule of λ.", _REGULARIZER, choices=("warmup", "constant", "tanh"), needs=(needs.REGULARIZER,)),
    )
    warmup: float = option(
        0.5,
        Option(
            "Fraction of the steps during which λ rises from 0.", _REGULARIZER, bounds=FRACTION, needs=(needs.WARMUP,)
        ),
    )
    slices: int = option(
        1,
        Option(
            "Divide each layer into this many parts; each step's penalty covers one of them.",
            _REGULARIZER,
            bounds=POSITIVE,
            needs=(needs.REGULARIZER,),
        ),
    )
