"""Record how each layer's weights move: histograms before, during and after fine-tuning, and the error of sharing.

Figure 2 of Elthakeb et al. (SinReQ) shows how weights gather at the quantization levels. A report draws that figure
from these histograms; `--snapshots` keeps checkpoints of the weights.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeGuard

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, float64, nn

from qacomp.checkpoints import CheckpointFacts, write_checkpoint
from qacomp.formats import BFLOAT16, SharedTensor, bfloat16_to_float32
from qacomp.outputs import make_folder
from qacomp.sources.network import Network

BINS = 96
_MANY, _FAR = 4000, 0.0005  # of so many weights, this share at each end doesn't widen the range of a histogram
_PARAMETRIZED = "parametrizations."


@dataclass(frozen=True)
class EpochRecord:
    """Means over one epoch: task loss, penalty Σ λ·R, and the metric on the validation part (the mean over sub-models).

    validation_accuracy: top-1 in percent, None if another metric was measured; `metric` is its name, `validation` its
    value then. Both are None for a training without labels.
    """

    stage: str
    epoch: int
    loss: float
    penalty: float
    validation_accuracy: float | None
    metric: str = "accuracy"
    validation: float | None = None

    @classmethod
    def of(cls, stage: str, epoch: int, losses: tuple[float, float], metric: str, value: float) -> Self:
        """Return the record of an epoch with these (loss, penalty) and this value of the metric."""
        if metric == "accuracy":
            return cls(stage, epoch, *losses, value)
        return cls(stage, epoch, *losses, None, metric, value)

    @property
    def validated(self) -> bool:
        """Return whether anything was measured on a validation part."""
        return self.validation_accuracy is not None or self.validation is not None

    @property
    def measured(self) -> float:
        """Return the value of the metric on the validation part."""
        value = self.validation_accuracy if self.validation is None else self.validation
        assert value is not None
        return value

    @property
    def told(self) -> str:
        """Return that value as text."""
        return f"{self.measured:.2f} %" if self.validation is None else f"{self.metric} {self.measured:.4g}"


@dataclass(frozen=True)
class WeightHistogram:
    """Counts (BINS,) of one layer's weights in equal parts of [low, high], taken at `stage`."""

    stage: str
    low: float
    high: float
    counts: tuple[int, ...]


class WeightHistory:
    """Histograms of the selected layers at several stages; the first histogram of a layer fixes its range.

    names: state-dict names of the layers' weights; a state maps such names to tensors or arrays.
    """

    def __init__(self, names: Iterable[str], state: Mapping[str, Any]) -> None:
        self.original = {name: _numbers(state[name]).copy() for name in names}
        self.histograms: dict[str, list[WeightHistogram]] = {name: [] for name in self.original}
        self.take("original", state)

    def take(self, stage: str, state: Mapping[str, Any]) -> None:
        """Add a histogram of each layer's weights in `state`; weights outside the range go into the outermost bins."""
        for name, taken in self.histograms.items():
            values = _numbers(state[name]).reshape(-1).astype(np.float64)  # float32 can't divide tiny ranges
            low, high = (taken[0].low, taken[0].high) if taken else _range(values)
            counts, _ = np.histogram(np.clip(values, low, high), BINS, (low, high))
            taken.append(WeightHistogram(stage, low, high, tuple(counts.tolist())))

    def finished(self) -> dict[str, tuple[WeightHistogram, ...]]:
        """Return all histograms that were taken, by layer."""
        return {name: tuple(taken) for name, taken in self.histograms.items()}

    def error(self, name: str, stored: NDArray[np.floating]) -> float | None:
        """Return RMS(stored − original) / RMS(original) of a layer; None if the original is zero or shapes differ."""
        before = self.original[name].astype(np.float64)
        if before.shape != stored.shape:  # a pruned layer whose dead channels are gone
            return None
        size = math.sqrt(float(np.mean(before**2))) if before.size else 0.0
        return math.sqrt(float(np.mean((_numbers(stored) - before) ** 2))) / size if size > 0 else None

    def errors(self, tensors: Mapping[str, object]) -> dict[str, float | None]:
        """Return `error` of each selected layer that is a SharedTensor in `tensors`."""
        return {n: self.error(n, t.dense()) for n, t in tensors.items() if n in self.original and _is_shared(t)}


class Watcher:
    """Called after every epoch of fine-tuning: takes histograms half-way and at the end, and writes checkpoints.

    `write(path, state)` writes epoch-0001.pt, ... into `folder` after each quarter of the epochs; without a folder no
    checkpoint is written. With straight-through sharing both hold the full-precision weights, which gather at the
    shared values.
    """

    def __init__(
        self,
        history: WeightHistory,
        epochs: int,
        folder: Path | None = None,
        write: Callable[[Path, Mapping[str, Tensor]], None] | None = None,
    ) -> None:
        self.history, self.epochs = history, epochs
        self.folder, self.write = folder, write

    def __call__(self, epoch: int, model: nn.Module) -> None:
        """Take the histograms and write the checkpoint that are due after `epoch`, which counts from 1."""
        half = epoch == (self.epochs + 1) // 2
        quarter = epoch in {-(-self.epochs * part // 4) for part in range(1, 5)}
        if half or epoch == self.epochs:
            name = "fine-tuned" if epoch == self.epochs else f"epoch {epoch} of {self.epochs}"
            self.history.take(name, plain_state(model))
        if quarter and self.folder is not None and self.write is not None:
            self.write(self.folder / f"epoch-{epoch:04d}.pt", plain_state(model))


def watcher(weights: WeightHistory, epochs: int, network: Network, data: str | None, folder: Path | None) -> Watcher:
    """Return a watcher that adds histograms to `weights` and writes checkpoints into `folder`, None: no checkpoints.

    Creates the folder. data: the data spec that is recorded in the checkpoints. Raises OutputNotWritableError.
    """

    facts = CheckpointFacts(network.arch, network.num_classes, network.preprocessing, data)

    def write(path: Path, state: Mapping[str, Tensor]) -> None:
        write_checkpoint(path, state, facts)

    if folder is not None:
        make_folder(folder)
    return Watcher(weights, epochs, folder, write)


def plain_state(model: nn.Module) -> dict[str, Tensor]:
    """Return the state dict with plain names; a parametrized weight is given by its full-precision original."""
    state = {}
    for name, value in model.state_dict().items():
        before, found, after = name.partition(_PARAMETRIZED)
        if not found:
            state[name] = value
        elif after.endswith(".original"):
            state[before + after.removesuffix(".original")] = value
    return state


def _numbers(values: Any) -> NDArray[np.floating]:
    """Return a tensor or an array of any float type as float32 (float64 stays)."""
    if isinstance(values, Tensor):
        wide = values.detach().cpu()
        wide = wide if wide.dtype == float64 else wide.float()
        numbers: NDArray[np.floating] = wide.numpy()
        return numbers
    if values.dtype == BFLOAT16:
        return bfloat16_to_float32(values)
    return np.asarray(values, np.float64 if values.dtype == np.float64 else np.float32)


def _range(values: NDArray[np.floating]) -> tuple[float, float]:
    """Return (low, high) of a histogram, with a margin: over all weights, or, of many, without the outermost 0.1 %.

    A few outliers would squeeze all other weights into a few bins.
    """
    if not values.size:
        return -0.5, 0.5
    if values.size < _MANY:
        low, high = float(values.min()), float(values.max())
    else:
        low, high = np.quantile(values, [_FAR, 1 - _FAR]).tolist()
    pad = 0.02 * (high - low) if high > low else 0.5 * abs(high) or 0.5
    return low - pad, high + pad


def _is_shared(tensor: object) -> TypeGuard[SharedTensor]:
    return isinstance(tensor, SharedTensor)
