"""Metrics of a model's outputs against targets: accuracy, mean squared error, perplexity, ..., or a user's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qacomp.datasets.custom import find_custom
from qacomp.errors import MetricError, QacompError
from qacomp.evaluation.accuracy import topk_accuracy
from qacomp.evaluation.perplexity import cross_entropies, perplexity
from qacomp.evaluation.similarity import similarity
from qacomp.options.metric_names import METRICS
from qacomp.runtime.agreement import Feed
from qacomp.runtime.output_agreement import cosine

IGNORED = -100
"""The label that torch's cross-entropy leaves out by default; accuracy and perplexity leave it out too."""
_LESS = ("mse", "perplexity")  # of which less is better


@dataclass(frozen=True)
class Measure:
    """A metric of the original and of the decoded model, on `samples` samples; accuracy is in percent.

    higher: whether more is better; of a squared error and a perplexity less is, whatever it says.
    """

    name: str
    original: float
    decoded: float
    samples: int
    higher: bool = True

    @property
    def lost(self) -> float:
        """Return how much worse the decoded model is; negative where it is better."""
        return lost(self.name, self.original, self.decoded, self.higher)

    def to_json(self) -> dict[str, Any]:
        """Return the fields as in `--json` and in a container's metadata; `higher_is_better` only if it is false."""
        told = asdict(self)
        higher = told.pop("higher") and self.name != "perplexity"
        return told if higher or self.name == "mse" else {**told, "higher_is_better": False}


def chosen_metric(name: str, outputs: NDArray[Any], targets: NDArray[Any]) -> str:
    """Return the name of the metric; for auto accuracy if targets are integers and outputs class scores, else mse."""
    if name != "auto":
        return name
    return "accuracy" if rows_of_scores(outputs, targets) is not None else "mse"


def evaluate(name: str, outputs: NDArray[Any], targets: NDArray[Any]) -> float:
    """Compute the metric `name` of `outputs` (N, ...) against `targets`; both are object arrays if shapes differ.

    accuracy: of scores (N, classes) and labels (N,), or over positions: (N, classes, H, W) and (N, H, W), or
    (N, T, classes) and (N, T). A row with NaN is wrong. perplexity: of the same arrays, without labels of −100.
    similarity: of two sets of embeddings (N, ...), the rank correlation of their cosines. A user's function
    `module:function` gets both arrays as they are. Raises MetricError, with shapes and dtypes, if they don't fit or the
    function fails.
    """
    if name not in METRICS:
        return _own(name, outputs, targets)
    for what, array in (("outputs", outputs), ("targets", targets)):
        if array.dtype.kind not in "fiub":
            why = "differ in shape between samples" if array.dtype.kind == "O" else "aren't numbers"
            raise MetricError(f"{name}: the {what} {_told(array)} {why}; give --metric module:function")
    if name in ("accuracy", "perplexity"):
        rows = rows_of_scores(outputs, targets)
        if rows is None:
            raise MetricError(
                f"{name}: outputs {_told(outputs)} and targets {_told(targets)} don't fit: they must be scores (N, "
                "classes, ...) and integers (N, ...); give another --metric"
            )
        return topk_accuracy(*rows) if name == "accuracy" else _perplexity(*rows)
    if name == "similarity":
        if min(outputs.ndim, targets.ndim) < 2 or len(outputs) != len(targets):
            raise MetricError(
                f"similarity: outputs {_told(outputs)} and targets {_told(targets)} don't fit: they must be embeddings "
                "(N, ...) of the same N samples; give another --metric"
            )
        return similarity(outputs, targets)
    wanted = targets.reshape(outputs.shape) if targets.size == outputs.size else targets
    if wanted.shape != outputs.shape:
        raise MetricError(
            f"{name}: outputs {_told(outputs)} and targets {_told(targets)} don't fit: they must have the same "
            "shape; give another --metric"
        )
    if name == "cosine":
        return cosine(outputs, wanted)
    return float(np.mean((outputs.astype(np.float64) - wanted) ** 2))


def lost(name: str, before: float, after: float, higher: bool = True) -> float:
    """Return how much worse `after` is: by how much a metric falls, or rises if less is better, as of `mse`."""
    return before - after if higher and name not in _LESS else after - before


def more_is_better(name: str) -> bool:
    """Return whether more is better of a metric; of `module:function`, unless it has `higher_is_better = False`."""
    if name in METRICS:
        return name not in _LESS
    return getattr(find_custom(*name.split(":", 1)), "higher_is_better", None) is not False


def _perplexity(scores: NDArray[Any], labels: NDArray[Any]) -> float:
    kept = labels != IGNORED
    if not kept.any() or labels[kept].min() < 0 or labels[kept].max() >= scores.shape[1]:
        raise MetricError("perplexity: no labels, or labels beyond the scores; give another --metric, or other targets")
    return perplexity(float(cross_entropies(scores[kept], labels[kept]).sum()), int(kept.sum()))


def first_outputs(runs: Sequence[Feed]) -> NDArray[Any]:
    """Return the first output over all runs, (N, ...); an object array if shapes differ, or if it isn't an array."""
    values = [next(iter(run.values())) for run in runs]
    if all(isinstance(value, np.ndarray) for value in values):
        arrays = [np.atleast_1d(value) for value in values]
        if len({(array.shape[1:], array.dtype) for array in arrays}) == 1:
            return np.concatenate(arrays)
        if all(len(array) == 1 for array in arrays):
            return as_objects([array[0] for array in arrays])
    return as_objects(values)


def as_objects(values: Sequence[Any]) -> NDArray[Any]:
    """Make an object array (N,) of N values of any kind or shape."""
    result = np.empty(len(values), object)
    for place, value in enumerate(values):
        result[place] = value
    return result


def rows_of_scores(outputs: NDArray[Any], targets: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]] | None:
    """Return scores (rows, classes) and labels (rows,), or None if the arrays can't be class scores and labels.

    Classes are on axis 1, as in (N, classes, H, W). With three axes they are on the last, as in (N, T, classes), if the
    targets' shape fits that.
    """
    if targets.dtype.kind not in "iu" or outputs.dtype.kind != "f" or outputs.ndim < 2 or not outputs.size:
        return None
    if outputs.ndim == 2 and targets.shape == (len(outputs), 1):
        targets = targets[:, 0]
    last = targets.shape == outputs.shape[:-1]
    second = targets.shape == (outputs.shape[0], *outputs.shape[2:])
    axis = -1 if last and (not second or outputs.ndim == 3) else 1
    if not (last or second) or outputs.shape[axis] < 2:
        return None
    return np.moveaxis(outputs, axis, -1).reshape(-1, outputs.shape[axis]), targets.reshape(-1)


def _own(name: str, outputs: NDArray[Any], targets: NDArray[Any]) -> float:
    function = find_custom(*name.split(":", 1))
    try:
        return float(function(outputs, targets))
    except QacompError:
        raise
    except Exception as error:
        told = f"on outputs {_told(outputs)} and targets {_told(targets)}"
        raise MetricError(f"{name} failed {told}: {type(error).__name__}: {' '.join(str(error).split())}") from error


def _told(array: NDArray[Any]) -> str:
    """Return dtype and shape as text, such as `float32[20, 2]`."""
    return f"{array.dtype}{list(array.shape)}"
