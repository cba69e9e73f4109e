"""A metric as one idea: it takes outputs and targets batch by batch, and gives a number at the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from qacomp.batches.feed import mapped, told
from qacomp.batches.outputs import NamedOutputs, main_output
from qacomp.errors import MetricError, QacompError
from qacomp.evaluation.accuracy import topk_accuracy
from qacomp.evaluation.metrics import IGNORED, rows_of_scores
from qacomp.evaluation.perplexity import cross_entropies, perplexity

_MOST_COLLECTED = 4 << 30  # bytes of outputs and targets that a function of all of them may need in memory


class Scorer(Protocol):
    """One computation of a metric."""

    def add(self, outputs: Any, targets: Any) -> None:
        """Take what a network gave for a batch (see `qacomp.batches.outputs.comparable`), and its targets."""
        ...

    def value(self) -> float:
        """Return the metric of all batches."""
        ...


@dataclass(frozen=True)
class Metric:
    """`name`: as in reports; `start`: begins a computation; `higher`: whether more is better."""

    name: str
    start: Callable[[], Scorer]
    higher: bool = True

    @property
    def percent(self) -> bool:
        """Return whether the metric is top-1 accuracy, in percent."""
        return self.name == "accuracy"

    def better(self, new: float, old: float | None) -> bool:
        """Return whether `new` is better than `old`; anything is better than None."""
        return old is None or (new > old if self.higher else new < old)


class _Accuracy:
    """Top-1 accuracy in percent, over positions too; see `rows_of_scores`."""

    def __init__(self) -> None:
        self.right, self.count = 0, 0

    def add(self, outputs: Any, targets: Any) -> None:
        scores, labels = array_of(main_output(outputs)), array_of(targets)
        rows = rows_of_scores(scores, labels)
        if rows is None:
            raise MetricError(
                f"accuracy: outputs {told(scores)} and targets {told(labels)} don't fit: they must be scores (N, "
                "classes, ...) and integers (N, ...); give another --metric"
            )
        kept = rows[1] != IGNORED
        if kept.any():
            count = int(kept.sum())
            self.right += round(topk_accuracy(rows[0][kept], rows[1][kept]) * count / 100)
            self.count += count

    def value(self) -> float:
        if not self.count:
            raise MetricError("accuracy: no labels to measure it on; check the data")
        return 100.0 * (self.right / self.count)


class _Perplexity:
    """Perplexity, over positions too; see `rows_of_scores`."""

    def __init__(self) -> None:
        self.total, self.count = 0.0, 0

    def add(self, outputs: Any, targets: Any) -> None:
        scores, labels = array_of(main_output(outputs)), array_of(targets)
        rows = rows_of_scores(scores, labels)
        kept = None if rows is None else rows[1] != IGNORED
        if (
            rows is None
            or kept is None
            or (kept.any() and not 0 <= rows[1][kept].min() <= rows[1].max() < rows[0].shape[1])
        ):
            raise MetricError(
                f"perplexity: outputs {told(scores)} and targets {told(labels)} don't fit: they must be scores (N, "
                "classes, ...) and integers (N, ...) below the number of classes; give another --metric"
            )
        self.total += float(cross_entropies(rows[0][kept], rows[1][kept]).sum())
        self.count += int(kept.sum())

    def value(self) -> float:
        if not self.count:
            raise MetricError("perplexity: no labels to measure it on; check the data")
        return perplexity(self.total, self.count)


class _SquaredError:
    """Mean squared error over all values."""

    def __init__(self) -> None:
        self.total, self.count = 0.0, 0

    def add(self, outputs: Any, targets: Any) -> None:
        found, wanted = array_of(main_output(outputs)), array_of(targets)
        if found.size != wanted.size or found.dtype.kind != "f" or wanted.dtype.kind not in "fiub":
            raise MetricError(
                f"mse: outputs {told(found)} and targets {told(wanted)} don't fit: they must have the same shape; give "
                "another --metric"
            )
        self.total += float(np.sum((found.astype(np.float64) - wanted.reshape(found.shape)) ** 2))
        self.count += found.size

    def value(self) -> float:
        return self.total / max(1, self.count)


class _Collected:
    """A function of all outputs and all targets, which are kept in memory."""

    def __init__(self, name: str, function: Callable[[Any, Any], Any]) -> None:
        self.name, self.function = name, function
        self.outputs: list[Any] = []
        self.targets: list[Any] = []
        self.bytes = 0

    def add(self, outputs: Any, targets: Any) -> None:
        self.outputs.append(_kept(outputs))
        self.targets.append(_kept(targets))
        self.bytes += _bytes_of(self.outputs[-1]) + _bytes_of(self.targets[-1])
        if self.bytes > _MOST_COLLECTED:
            raise MetricError(
                f"{self.name}: all outputs and targets together take more than 4 GiB; give a metric with update and "
                "compute, as those of torchmetrics have"
            )

    def value(self) -> float:
        return computed(self.name, self.function, _concatenated(self.outputs), _concatenated(self.targets))


class _Updated:
    """A metric with update, compute and reset, as those of torchmetrics."""

    def __init__(self, name: str, metric: Any) -> None:
        self.name, self.metric = name, metric
        metric.reset()

    def add(self, outputs: Any, targets: Any) -> None:
        computed(self.name, lambda a, b: self.metric.update(a, b) or 0.0, outputs, targets)

    def value(self) -> float:
        return computed(self.name, lambda a, b: self.metric.compute(), None, None)


ACCURACY = Metric("accuracy", _Accuracy)
MSE = Metric("mse", _SquaredError, higher=False)
PERPLEXITY = Metric("perplexity", _Perplexity, higher=False)


def metric_of(name: str, own: Any) -> Metric:
    """Return a user's metric: a function of (outputs, targets), or an object with update, compute and reset.

    More is better, unless it has an attribute `higher_is_better` that is False.
    """
    higher = getattr(own, "higher_is_better", None) is not False
    if all(callable(getattr(own, part, None)) for part in ("update", "compute", "reset")):
        return Metric(name, lambda: _Updated(name, own), higher)
    return Metric(name, lambda: _Collected(name, own), higher)


def computed(name: str, function: Callable[[Any, Any], Any], outputs: Any, targets: Any) -> float:
    """Call a user's metric. Raises MetricError, with shapes and dtypes, if it fails or gives no number."""
    try:
        return float(function(outputs, targets))
    except QacompError:
        raise
    except Exception as error:  # a user's function may raise anything
        text = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise MetricError(f"{name} failed on outputs {told(outputs)} and targets {told(targets)}: {text}") from error


def array_of(value: Any) -> NDArray[Any]:
    """Return a tensor or an array as an array on the CPU."""
    return np.asarray(value if isinstance(value, np.ndarray) else value.detach().cpu().numpy())


def _kept(value: Any) -> Any:
    if isinstance(value, NamedOutputs):
        return NamedOutputs((name, _kept(part)) for name, part in value.items())
    return mapped(value, lambda tensor: tensor.detach().cpu())


def _bytes_of(value: Any) -> int:
    if isinstance(value, dict):
        return sum(map(_bytes_of, value.values()))
    if isinstance(value, tuple | list):
        return sum(map(_bytes_of, value))
    return int(getattr(value, "nbytes", 0))


def _concatenated(parts: list[Any]) -> Any:
    """Return the batches' values as one; parts of different shapes as a list."""
    first = parts[0]
    if isinstance(first, torch.Tensor):
        same = len({part.shape[1:] for part in parts}) == 1
        return torch.cat(parts) if same and first.ndim else parts
    if isinstance(first, dict):
        return type(first)((name, _concatenated([part[name] for part in parts])) for name in first)
    if isinstance(first, tuple):
        return tuple(_concatenated([part[i] for part in parts]) for i in range(len(first)))
    return np.concatenate(parts) if isinstance(first, np.ndarray) else parts
