"""Pieces of the papers' experiments: a trial of minutes with its seed, kept in a file of its own once it is finished.

A piece counts only if it was measured with the settings that the trial has now; a file that can't be read counts as
none, and its trial is run again.
"""

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from result import RESULTS, code, commit, environment

from qacomp.formats import write_atomically

FOLDER = RESULTS / "papers"


@dataclass(frozen=True)
class Trial:
    """One piece of work. measure: settings and seed -> figures, the same each time; turn: those of turn 0 run first."""

    claim: str
    name: str
    seed: int
    settings: dict[str, Any]
    measure: Callable[[dict[str, Any], int], dict[str, Any]]
    turn: int = 0

    @property
    def stem(self) -> str:
        """Return the name of its file, without the suffix."""
        return f"{self.claim}-{self.name}-seed{self.seed}" if self.name else f"{self.claim}-seed{self.seed}"


@dataclass(frozen=True)
class Piece:
    """A finished trial: what it was run with, its figures, and the CPU seconds that it took."""

    name: str
    seed: int
    settings: dict[str, Any]
    figures: dict[str, Any]
    seconds: float


def kept(trial: Trial, folder: Path = FOLDER) -> Piece | None:
    """Return a trial's piece, or None if it isn't there, is broken, or was measured with other settings."""
    try:
        d = json.loads((folder / f"{trial.stem}.json").read_text(encoding="utf-8"))
        piece = Piece(d["trial"], d["seed"], d["settings"], d["figures"], float(d["seconds"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    same = (piece.name, piece.seed, piece.settings) == (trial.name, trial.seed, json.loads(json.dumps(trial.settings)))
    return piece if same and isinstance(piece.figures, dict) else None


def run_trial(trial: Trial, folder: Path = FOLDER) -> Piece:
    """Run a trial and keep its piece, whole or not at all."""
    started, wall = time.process_time(), time.time()
    figures = trial.measure(trial.settings, trial.seed)
    seconds = round(time.process_time() - started, 1)
    document = {
        "claim": trial.claim,
        "trial": trial.name,
        "seed": trial.seed,
        "settings": trial.settings,
        "figures": figures,
        "seconds": seconds,
        "wall_seconds": round(time.time() - wall, 1),
        "commit": commit(),
        "code": code(),
        "environment": environment(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(document, indent=1, sort_keys=True) + "\n"
    write_atomically(folder / f"{trial.stem}.json", [text.encode()])
    return Piece(trial.name, trial.seed, trial.settings, figures, seconds)


def all_kept(trials: Iterable[Trial], folder: Path = FOLDER) -> list[Piece]:
    """Return the pieces of those trials that are finished, in the trials' order."""
    return [piece for trial in trials if (piece := kept(trial, folder)) is not None]


def waiting(trials: Iterable[Trial], folder: Path = FOLDER) -> list[Trial]:
    """Return the trials that aren't finished, in the order in which they are run: by turn, then as given."""
    return sorted((trial for trial in trials if kept(trial, folder) is None), key=lambda trial: trial.turn)
