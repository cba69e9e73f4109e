"""Read the history of a training from the document that `train --json` or `compress --json` printed."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qacomp.errors import QacompError

_MOST_BYTES, _MOST_EPOCHS = 64 << 20, 100_000  # of a document, and in it


class HistoryError(QacompError):
    """A file isn't a document with the history of a training."""


@dataclass(frozen=True)
class TrainingCurve:
    """One stage of a training by epoch: task loss, penalty, and the metric on the validation part, NaN where unknown.

    name: of the file; metric: the metric's name, "" for none.
    """

    name: str
    stage: str
    losses: tuple[float, ...]
    penalties: tuple[float, ...]
    metric: str
    values: tuple[float, ...]


def read_history(path: Path) -> TrainingCurve:
    """Return the stage with the most epochs in a document. Raises HistoryError, OSError."""
    if path.stat().st_size > _MOST_BYTES:
        raise HistoryError(f"{path}: larger than {_MOST_BYTES >> 20} MiB; give what `train --json` printed")
    try:
        document = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise _not_a_history(path, "it isn't JSON") from error
    records = document.get("history") if isinstance(document, Mapping) else None
    if not isinstance(records, list) or len(records) > _MOST_EPOCHS or not all(map(_is_record, records)):
        raise _not_a_history(path, "it has no list `history` of epochs")
    stages: dict[str, list[Mapping[str, Any]]] = {}
    for record in records:
        stages.setdefault(record["stage"], []).append(record)
    if not stages:
        raise _not_a_history(path, "nothing was trained")
    stage, longest = max(stages.items(), key=lambda item: len(item[1]))  # of equal ones the first
    values = [_value(record) for record in longest]
    known = any(value is not None for value in values)
    return TrainingCurve(
        path.name,
        stage,
        tuple(float(record["loss"]) for record in longest),
        tuple(float(record["penalty"]) for record in longest),
        str(longest[0].get("metric", "accuracy")) if known else "",
        tuple(math.nan if value is None else float(value) for value in values),
    )


def _value(record: Mapping[str, Any]) -> float | None:
    """Return what was measured on the validation part: top-1 in percent, or another metric's value."""
    accuracy: float | None = record.get("validation_accuracy")
    other: float | None = record.get("validation")
    return accuracy if other is None else other


def _is_record(record: Any) -> bool:
    if not isinstance(record, Mapping) or not isinstance(record.get("stage"), str):
        return False
    measured = [record.get("validation_accuracy"), record.get("validation")]
    return all(map(_is_number, (record.get("loss"), record.get("penalty")))) and all(
        value is None or _is_number(value) for value in measured
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _not_a_history(path: Path, why: str) -> HistoryError:
    return HistoryError(
        f"{path}: not the history of a training: {why}; give what `train --json` or `compress --json` printed"
    )
