"""The comparison of a changed model with its original."""

from dataclasses import dataclass

from qacomp.evaluation.metrics import Measure
from qacomp.evaluation.paired import Loss
from qacomp.runtime.agreement import Agreement


@dataclass(frozen=True)
class Measured:
    """The comparison of two models. `agreement`: None if a model doesn't run; `metric`: None without targets.

    loss: of the metric, with its noise; only where steps are chosen by it.
    """

    agreement: Agreement | None = None
    metric: Measure | None = None
    loss: Loss | None = None
