"""Options of the regularizers: which one, how strong, and what they start from."""

from collections.abc import Mapping
from dataclasses import dataclass

from qacomp.options import needs
from qacomp.options.declaration import FRACTION, NOT_NEGATIVE, POSITIVE, Option, by_layer, option
from qacomp.options.method import NO_METHOD, MethodChoice

_REGULARIZER = "Regularizer of the fine-tuning"


@dataclass(frozen=True, kw_only=True)
class RegularizingOptions:
    """How a regularizer gathers weights into clusters."""

    reg: MethodChoice = option(
        NO_METHOD,
        Option(
            "Fine-tune with a regularizer that gathers each layer's weights into clusters: sin, cos, min, exp, sinreq.",
            _REGULARIZER,
            basic=True,
            methods="qacomp.training.regularizers.base:REGULARIZERS",
            needs=(needs.REGULARIZED,),
        ),
    )
    strength: float | None = option(
        None,
        Option(
            "The papers' λ, one for all layers, or conv1=2 for one.",
            _REGULARIZER,
            bounds=NOT_NEGATIVE,
            needs=(needs.REGULARIZER,),
            shown="balanced by layer, see --pull",
            metavar="λ",
        ),
    )
    strength_layers: Mapping[str, float] = by_layer("strength", needs.REGULARIZER)
    pull: float = option(
        4.0,
        Option(
            "How strongly each layer's λ pulls weights to their shared values.",
            _REGULARIZER,
            bounds=NOT_NEGATIVE,
            needs=(needs.PULL,),
        ),
    )
    schedule: str = option(
        "warmup",
        Option("How λ rises.", _REGULARIZER, choices=("warmup", "constant", "tanh"), needs=(needs.REGULARIZER,)),
    )
    warmup: float = option(
        0.5,
        Option("Fraction of the steps in which λ rises from 0.", _REGULARIZER, bounds=FRACTION, needs=(needs.WARMUP,)),
    )
    slices: int = option(
        1,
        Option(
            "Divide each layer into so many parts; a step's penalty looks at one of them.",
            _REGULARIZER,
            bounds=POSITIVE,
            needs=(needs.REGULARIZER,),
        ),
    )
