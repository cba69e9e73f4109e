"""Options of distillation: who teaches, and how much that counts."""

from dataclasses import dataclass

from qacomp.options import needs
from qacomp.options.declaration import FRACTION, POSITIVE, Option, option

_DISTILLATION = "Distillation"


@dataclass(frozen=True, kw_only=True)
class DistillingOptions:
    """How the network learns from the original, and sub-models from larger ones."""

    distill: str = option(
        "kd",
        Option(
            "Learn from the original network's outputs (kd), or as sub-models of which the original is the largest: "
            "from it (ipkd), from the next larger one (ta-1) or from all larger ones (ta-m).",
            _DISTILLATION,
            choices=("none", "kd", "ipkd", "ta-1", "ta-m"),
            needs=(needs.TRAINED,),
            idle="none",
        ),
    )
    distill_weight: float | None = option(
        None,
        Option(
            "Share of the teachers in the loss.",
            _DISTILLATION,
            bounds=FRACTION,
            needs=(needs.TEACHER,),
            shown="0.8, kd 0.9",
        ),
    )
    temperature: float | None = option(
        None,
        Option(
            "Temperature of the softened outputs.",
            _DISTILLATION,
            bounds=POSITIVE,
            needs=(needs.TEACHER,),
            shown="2; exits 5, widths and levels 1",
        ),
    )
