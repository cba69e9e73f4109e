"""The papers' claims, in the order in which they are run, and how far each is decided."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _papers_pieces import FOLDER, Piece, Trial, all_kept
from _papers_statistics import Interval, bootstrap


@dataclass(frozen=True)
class Question:
    """One comparison that a claim rests on: what is compared, and its paired differences, one a seed, from pieces.

    seeds: how many are planned. Before they are there nothing is decided: an interval that is looked at after each seed
    would exclude zero at some time by chance. asked: whether the paper claims it; one that it doesn't is told beside
    the others, to explain them, and decides nothing.
    """

    text: str
    differences: Callable[[Sequence[Piece]], list[float]]
    seeds: int
    asked: bool = True

    def decided(self, answer: Interval | None) -> bool:
        """Return whether all seeds are there, and their interval decides."""
        return answer is not None and answer.n >= self.seeds and answer.decided


@dataclass(frozen=True)
class Claim:
    """Hold what a paper says, how it is tested here, and the trials; without trials `instead` says why nothing is run.

    The claim is decided once all `questions` are. shape: how our experiment differs from the paper's. cells: the cells
    of the claim's tables, from its pieces (see `_papers_cells`); remarks: what else the pieces tell, in sentences.
    """

    name: str
    paper: str
    text: str
    shape: str
    trials: tuple[Trial, ...] = ()
    questions: tuple[Question, ...] = ()
    instead: str = ""
    cells: Callable[[Sequence[Piece]], list[dict[str, Any]]] = lambda pieces: []
    remarks: Callable[[Sequence[Piece]], list[str]] = lambda pieces: []


@dataclass(frozen=True)
class Standing:
    """Tell how far a claim is: finished pieces, the CPU hours that they took, and each question's interval or None."""

    claim: Claim
    pieces: list[Piece]
    answers: list[tuple[Question, Interval | None]]

    @property
    def hours(self) -> float:
        """Return the CPU hours of the finished pieces."""
        return sum(piece.seconds for piece in self.pieces) / 3600

    @property
    def decided(self) -> bool:
        """Return whether every question is decided."""
        return bool(self._asked) and all(question.decided(answer) for question, answer in self._asked)

    @property
    def _asked(self) -> list[tuple[Question, Interval | None]]:
        return [(question, answer) for question, answer in self.answers if question.asked]

    @property
    def verdict(self) -> str:
        """Return holds, holds in part, doesn't hold here (and how), not decided, or how much has run."""
        if not self.claim.trials:
            return self.claim.instead
        count = f"{len(self.pieces)} of {len(self.claim.trials)} pieces"
        if not self.pieces:
            return f"not run yet (0 of {len(self.claim.trials)} pieces)"
        if not self.decided:
            settled = sum(question.decided(answer) for question, answer in self._asked)
            told = f"**not decided**: {settled} of {len(self._asked)} questions are"
            return told if len(self.pieces) == len(self.claim.trials) else f"not decided yet ({count})"
        found = [answer for _, answer in self._asked if answer is not None]
        held = [answer.holds for answer in found]
        if all(held):
            told = "**holds**"
        elif any(held):
            told = "**holds in part**"
        else:
            opposite = all(answer.high is not None and answer.high < 0 for answer in found)
            told = f"**doesn't hold here** ({'the opposite' if opposite else 'no effect shown'})"
        return told + ("" if len(self.pieces) == len(self.claim.trials) else f", {count}")


def standing(claim: Claim, folder: Path = FOLDER) -> Standing:
    """Return how far a claim is, from the pieces that are kept."""
    pieces = all_kept(claim.trials, folder)
    answers: list[tuple[Question, Interval | None]] = []
    for question in claim.questions:
        values = question.differences(pieces)
        answers.append((question, bootstrap(values) if values else None))
    return Standing(claim, pieces, answers)
