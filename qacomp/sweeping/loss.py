"""How much worse a compressed model is: what a sweep holds against its bytes."""

import math
from collections.abc import Mapping

from qacomp.errors import QacompError
from qacomp.evaluation.metrics import Measure, lost
from qacomp.runtime.agreement import Agreement

CENTRED, PLAIN = "1 - cosine of centred outputs", "1 - cosine of outputs"


class UnmeasuredTrialError(QacompError):
    """Nothing tells how good a compressed model is, so that it can't be held against its size."""


def drop_name(metric: str) -> str:
    """Return what the loss is called where a metric is measured on data."""
    return "drop of accuracy, points" if metric == "accuracy" else f"{metric}, how much worse"


def quality_loss(
    accuracy: Mapping[str, float | None], metric: Measure | None, agreement: Agreement | None
) -> tuple[str, float]:
    """Return (what the loss is, the loss): of the metric on data with targets, else of the outputs' agreement.

    accuracy: original and decoded, in percent. Raises UnmeasuredTrialError where neither was measured.
    """
    original, decoded = accuracy.get("original"), accuracy.get("decoded")
    if original is not None and decoded is not None:
        return _finite(drop_name("accuracy"), lost("accuracy", original, decoded))
    if metric is not None:
        return _finite(drop_name(metric.name), metric.lost)
    if agreement is not None and agreement.centred is not None:
        return _finite(CENTRED, max(0.0, 1 - agreement.centred))
    if agreement is not None and agreement.cosine is not None:
        return _finite(PLAIN, max(0.0, 1 - agreement.cosine))
    raise UnmeasuredTrialError(
        "nothing tells how good the compressed model is: its outputs weren't compared; give --data with targets"
    )


def _finite(measure: str, loss: float) -> tuple[str, float]:
    if not math.isfinite(loss):
        raise UnmeasuredTrialError(f"{measure}: is NaN or infinite; give --data with inputs of your own")
    return measure, loss
