"""Keep what a search of steps measures, so that a run that goes on after Ctrl-C measures none of it again."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from qacomp.progress import Progress

Kept: TypeAlias = Callable[[str, int, Callable[[], Sequence[float]]], Sequence[float]]
"""Returns so many numbers of a key: those of an earlier run, else what a function measures, which is then kept."""


def not_kept(key: str, count: int, measure: Callable[[], Sequence[float]]) -> Sequence[float]:
    """Return what is measured, and keep nothing."""
    return measure()


@dataclass(frozen=True)
class Watch:
    """Where a calibration shows its progress, and where it keeps its measurements."""

    progress: Progress
    kept: Kept = not_kept
