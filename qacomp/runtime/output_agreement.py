"""Compare one output of two models over the same runs, if that output can show a difference at all.

An output that isn't finite, or that is the same for all inputs, would agree with anything, so it isn't measured. A
large mean hides what the input changes, so outputs are also compared after the mean of the original's output over all
inputs is subtracted from both.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_SAME = 1e-6  # relative to its size: an output that varies less may vary by rounding only
_LEAST_RARE = 8  # positions with another class than the most common; a percentage of fewer means little
_LEAST_FINITE = 0.5  # share of finite values below which an output isn't measured
_SCORES = re.compile(r"logit|score|prob|class|cls|label|softmax|conf", re.I)
_NO_SCORES = re.compile(r"embed|feature|hidden|pool|state|box|bbox|loc|landmark|kps", re.I)


@dataclass(frozen=True)
class OutputAgreement:
    """The agreement of one output over all runs.

    cosine: of both models' values, flattened; 1 if both are zero or equal. max_abs_error: the largest |difference|.
    top1: percent of rows, or of positions in (batch, time, classes) and (batch, classes, h, w), with the same largest
    class score; None without class scores. not_finite: number of values that are NaN or infinite in one model only.
    centred: cosine after the original's mean over the inputs, element by element, is subtracted from both; None if
    shapes differ between runs. rare: top1 over the positions where either model gives another class than the original's
    most common one. equal: percent of equal entries of an integer output. other_shape: number of runs in which the
    changed model's output has another shape. positions: number of positions that rare, or without it top1, is taken
    over. unmeasured: why the output can't be measured; then only max_abs_error, not_finite and other_shape are set.
    """

    name: str
    cosine: float | None
    max_abs_error: float
    top1: float | None
    not_finite: int = 0
    centred: float | None = None
    rare: float | None = None
    equal: float | None = None
    other_shape: int = 0
    positions: int = 0
    unmeasured: str | None = None


def output_agreement(
    name: str, original: Sequence[NDArray[Any]], changed: Sequence[NDArray[Any]], batch: int = 1
) -> OutputAgreement:
    """Compare one output over the same runs of two models.

    batch: examples in a run; they lie along the first axis of outputs that have so many rows.
    """
    pairs = [(a, b) for a, b in zip(original, changed, strict=True) if a.shape == b.shape]
    other = len(original) - len(pairs)
    x, y = (_flat([pair[side] for pair in pairs]) for side in (0, 1))
    finite = np.isfinite(x) & np.isfinite(y)
    lost = int(np.count_nonzero(np.isfinite(x) != np.isfinite(y)))
    error = float(np.abs(x[finite] - y[finite]).max(initial=0.0))
    why = _says_nothing(original)
    if why is not None:
        return OutputAgreement(name, None, error, None, lost, other_shape=other, unmeasured=why)
    if not pairs:
        return OutputAgreement(name, None, 0.0, None, 0, equal=0.0, other_shape=other)
    if original[0].dtype.kind != "f":
        equal = 100.0 * sum(int((a == b).sum()) for a, b in pairs) / max(1, sum(a.size for a in original))
        return OutputAgreement(name, cosine(x, y), error, None, equal=equal, other_shape=other)
    a, b = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    top1, rare, positions = _top1(name, a, b)
    return OutputAgreement(
        name,
        cosine(x[finite], y[finite]),
        error,
        top1,
        lost,
        _centred(a, b, batch),
        rare,
        other_shape=other,
        positions=positions,
    )


def cosine(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Compute the cosine of the values of two arrays; 1 if both are zero, 0 if only one is."""
    if np.array_equal(a, b):
        return 1.0
    x, y = a.reshape(-1).astype(np.float64), b.reshape(-1).astype(np.float64)
    x, y = (v / (np.abs(v).max(initial=0.0) or 1.0) for v in (x, y))  # no overflow in the squares
    norms = float(np.linalg.norm(x) * np.linalg.norm(y))
    return min(1.0, float(x @ y) / norms) if norms else 0.0


def _flat(values: Sequence[NDArray[Any]]) -> NDArray[np.float64]:
    return np.concatenate([v.reshape(-1).astype(np.float64) for v in values]) if values else np.zeros(0)


def _says_nothing(runs: Sequence[NDArray[Any]]) -> str | None:
    """Return why an output of the original can't show differences, or None if it can."""
    values = _flat(runs)
    if not values.size:
        return "it is empty"
    finite = np.isfinite(values)
    if finite.mean() < _LEAST_FINITE:
        return "the original's values are NaN or infinite"
    kept = values[finite]
    if float(np.ptp(kept)) <= _SAME * float(np.abs(kept).max()):
        return "it is one constant"
    if len(runs) > 1 and len({v.shape for v in runs}) == 1:
        stacked = np.nan_to_num(values.reshape(len(runs), -1), posinf=0.0, neginf=0.0)
        if float(np.ptp(stacked, axis=0).max()) <= _SAME * float(np.abs(stacked).max()):
            return "it is the same for all inputs"
    return None


def _examples(runs: Sequence[NDArray[Any]], batch: int) -> NDArray[np.float64] | None:
    """Return all examples as (examples, values); None if their shapes differ, or if there is only one."""
    rows = [row for v in runs for row in (v if v.ndim and batch > 1 and len(v) == batch else v[None])]
    if len(rows) < 2 or len({row.shape for row in rows}) != 1:
        return None
    return np.stack(rows).reshape(len(rows), -1).astype(np.float64)


def _centred(a: Sequence[NDArray[Any]], b: Sequence[NDArray[Any]], batch: int) -> float | None:
    x, y = _examples(a, batch), _examples(b, batch)
    if x is None or y is None:
        return None
    finite = np.isfinite(x).all(axis=0) & np.isfinite(y).all(axis=0)  # (values,)
    x, y = x[:, finite], y[:, finite]
    mean = x.mean(axis=0)
    return cosine(x - mean, y - mean) if x.size else None


def _top1(name: str, a: Sequence[NDArray[Any]], b: Sequence[NDArray[Any]]) -> tuple[float | None, float | None, int]:
    """Return (top1, rare, positions) as `OutputAgreement` defines them; (None, None, 0) without class scores."""
    axis = _class_axis(name, a)
    if axis is None:
        return None, None, 0
    x, y = (np.concatenate([v.argmax(axis=axis).reshape(-1) for v in side]) for side in (a, b))
    same = x == y
    rare = np.bincount(x).argmax()
    telling = (x != rare) | (y != rare)
    share = 100.0 * float(same[telling].mean()) if telling.sum() >= _LEAST_RARE else None
    return 100.0 * float(same.mean()), share, len(same) if share is None else int(telling.sum())


def _class_axis(name: str, runs: Sequence[NDArray[Any]]) -> int | None:
    """Find the axis of classes: 1 in (batch, classes) and (batch, classes, h, w), 2 in (batch, time, classes), or None.

    Outputs with more than two axes count as class scores only if probabilities sum to 1, or if their name says so.
    """
    rank = runs[0].ndim
    if rank not in (2, 3, 4) or any(v.ndim != rank or not v.size for v in runs):
        return None
    axis = {2: 1, 3: 2, 4: 1}[rank]
    if any(v.shape[axis] < 2 for v in runs):
        return None
    if rank == 2 and not _NO_SCORES.search(name):
        return axis
    scores = _SCORES.search(name) and not _NO_SCORES.search(name)
    return axis if scores or all(_are_probabilities(v, axis) for v in runs[:2]) else None


def _are_probabilities(values: NDArray[Any], axis: int) -> bool:
    """Return whether the values, or their exponentials, sum to 1 along the axis."""
    wide = values.astype(np.float64)
    if not np.isfinite(wide).all():
        return False
    chances = wide if wide.min() >= 0 else np.exp(np.minimum(wide, 1.0))
    return bool(np.abs(chances.sum(axis=axis) - 1).max() < 1e-2)
