"""Keep what tuning changed at each scale, in memory and in a journal, so that no scale is tuned twice."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from qacomp.stages.journal import Journal, real, text, whole
from qacomp.stages.tune_on_grids import Tuned
from qacomp.training.history import EpochRecord


class KeptTunings:
    """The tuned values of one network by scale. what: a text that differs for other steps, inputs and networks."""

    def __init__(self, journal: Journal, what: str) -> None:
        self._journal, self._what = journal, what
        self._tuned: dict[float, Tuned] = {}

    def find(self, scale: float) -> Tuned | None:
        """Return what tuning changed at a scale, in this run or in an earlier one; None if it wasn't tuned."""
        if scale not in self._tuned and (found := self._journal.arrays(self._key(scale))) is not None:
            try:
                values = {name: torch.from_numpy(array) for name, array in found[1].items()}
                self._tuned[scale] = Tuned(values, _records(found[0]))
            except (ValueError, TypeError, KeyError):
                return None
        return self._tuned.get(scale)

    def keep(self, scale: float, tuned: Tuned) -> None:
        """Keep what tuning changed at a scale. Types that numpy lacks are kept in memory alone."""
        self._tuned[scale] = tuned
        if all(_in_numpy(value) for value in tuned.values.values()):
            arrays = {name: value.cpu().numpy() for name, value in tuned.values.items()}
            self._journal.add(self._key(scale), [asdict(record) for record in tuned.records], arrays)

    def _key(self, scale: float) -> str:
        return f"tuned values at {scale!r} of {self._what}"


def _in_numpy(value: Tensor) -> bool:
    return value.dtype != torch.bfloat16


def _records(value: Any) -> Sequence[EpochRecord]:
    """Return the records of epochs in a journal. Raises ValueError, TypeError or KeyError for anything else."""
    return tuple(
        EpochRecord(
            text(record["stage"]),
            whole(record["epoch"]),
            real(record["loss"]),
            real(record["penalty"]),
            None if record["validation_accuracy"] is None else real(record["validation_accuracy"]),
            text(record["metric"]),
            None if record["validation"] is None else real(record["validation"]),
        )
        for record in value
    )
