"""Options of the regularizers: which one, how strong, and what they start from."""

from collections.abc import Mapping
from dataclasses import dataclass

from qacomp.options import needs
from qacomp.options.declaration import FRACTION, NOT_NEGATIVE, POSITIVE, Option, by_layer, option

INITS = ("kmeans", "quantile", "uniform")
RANGES = ("layer", "global", "learned")
DOMAINS = ("dorefa", "wrpn", "dorefa-raw", "wrpn-raw")
_REGULARIZER = "Regularizer of the fine-tuning"


@dataclass(frozen=True, kw_only=True)
class RegularizingOptions:
    """How a regularizer gathers weights into clusters."""

    reg: str = option(
        "none",
        Option(
            "Fine-tune with a regularizer that gathers each layer's weights into clusters: sin, cos, min, exp, sinreq.",
            _REGULARIZER,
            basic=True,
            registry="qacomp.training.regularizers:list_regularizers",
            needs=(needs.REGULARIZED,),
            metavar="NAME",
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
    init: str = option(
        "kmeans",
        Option("Where learned shared values (min, exp) start.", _REGULARIZER, choices=INITS, needs=(needs.STARTS,)),
    )
    range: str = option(
        "layer",
        Option(
            "Interval of sin's and cos's values: of each layer, one for all layers, or learned.",
            _REGULARIZER,
            choices=RANGES,
            needs=(needs.PERIODIC,),
        ),
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
    domain: str = option(
        "auto",
        Option(
            "sinreq: the quantizer whose levels are the penalty's zeros; -raw: the paper's formula.",
            _REGULARIZER,
            choices=("auto", *DOMAINS),
            needs=(needs.SINREQ,),
            shown="the quantizer's",
        ),
    )
    learn_bits: bool = option(False, Option("sinreq: train each layer's bits.", _REGULARIZER, needs=(needs.SINREQ,)))
    bits_penalty: float = option(
        0.03,
        Option(
            "sinreq: what a learned bit costs in the loss.",
            _REGULARIZER,
            bounds=NOT_NEGATIVE,
            needs=(needs.LEARNED_BITS,),
        ),
    )
