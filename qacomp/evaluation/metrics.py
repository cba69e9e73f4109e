"""What a model's outputs are worth against targets: accuracy, mean squared error, cosine, or a user's own function."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qacomp.datasets.custom import find_custom
from qacomp.errors import DataError, QacompError
from qacomp.evaluation.accuracy import topk_accuracy
from qacomp.evaluation.agreement import Feed
from qacomp.evaluation.output_agreement import cosine


@dataclass(frozen=True)
class Measure:
    """A metric of the original and of the decoded model on `samples` samples; accuracy in percent."""

    name: str
    original: float
    decoded: float
    samples: int

    def to_json(self) -> dict[str, Any]:
        """For `--json` and a container's metadata."""
        return asdict(self)


def chosen_metric(name: str, outputs: NDArray[Any], targets: NDArray[Any]) -> str:
    """auto: accuracy for whole numbers beside rows of scores, else the mean squared error."""
    if name != "auto":
        return name
    labels = targets.dtype.kind in "iu" and targets.ndim == 1
    return "accuracy" if labels and outputs.ndim == 2 and outputs.shape[1] > 1 else "mse"


def evaluate(name: str, outputs: NDArray[Any], targets: NDArray[Any]) -> float:
    """`outputs` (N, ...) against `targets`. Raises DataError where the shapes don't fit or the function fails."""
    if name == "accuracy":
        return topk_accuracy(outputs, targets)
    if name in ("mse", "cosine"):
        wanted = targets.reshape(outputs.shape) if targets.size == outputs.size else targets
        if wanted.shape != outputs.shape:
            raise DataError(f"outputs {list(outputs.shape)} and targets {list(targets.shape)} don't fit for {name}")
        if name == "cosine":
            return cosine(outputs, wanted)
        return float(np.mean((outputs.astype(np.float64) - wanted) ** 2))
    function = find_custom(*name.split(":", 1))
    try:
        return float(function(outputs, targets))
    except QacompError:
        raise
    except Exception as error:
        raise DataError(f"{name} failed: {type(error).__name__}: {' '.join(str(error).split())}") from error


def first_outputs(runs: Sequence[Feed]) -> NDArray[Any]:
    """The first output over all runs, (N, ...)."""
    values = [next(iter(run.values())) for run in runs]
    return np.concatenate([np.atleast_1d(value) for value in values])
