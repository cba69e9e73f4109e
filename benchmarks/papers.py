"""The papers' claims with statistical power: a queue of trials in pieces of minutes, each with its seed.

Every finished piece is a file in benchmarks/results/papers; what is broken off (Ctrl-C, a kill) goes on with the next
piece. `--claim` runs one claim, `--minutes` ends after so long (the last piece is finished), `--minutes 0` only sums up
what is kept. One process runs at a time. Without the shared folder nothing is run.
"""

import argparse
import fcntl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import _papers_list
import torch
from _papers_claims import Standing, standing
from _papers_queue import work_off
from _trials import WORK
from result import Headline, Row, shared_folder


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the suite's own arguments."""
    parser.add_argument(
        "--claim", choices=[one.name for one in _papers_list.claims() if one.trials], help="papers: only this one"
    )
    parser.add_argument("--minutes", type=float, default=150.0, help="papers: start no piece after so long (150)")
    parser.add_argument("--threads", type=int, default=1, help="papers: threads of PyTorch (1)")


def run(
    size: str, seeds: int, *, claim: str | None = None, minutes: float = 150.0, threads: int = 1
) -> tuple[list[Row], dict[str, Headline]]:
    """Run what is waiting; return a row for each claim, of all pieces that are kept. The seeds are the claims' own."""
    torch.set_num_threads(threads)
    chosen = [one for one in _papers_list.claims() if claim in (None, one.name)]
    if minutes > 0 and shared_folder() is None:
        print("no shared folder (QACOMP_SHARED) with the data: nothing is run, and what is kept is summed up")
    elif minutes > 0:
        with _alone():
            work_off(chosen, minutes)
    found = [standing(one) for one in _papers_list.claims()]
    return [row(one) for one in found], {"papers_claims_decided": _decided(found)}


@contextmanager
def _alone() -> Iterator[None]:
    """Hold the lock that only one process can hold; exit with a line if another one runs."""
    WORK.mkdir(parents=True, exist_ok=True)
    with (WORK / "papers.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SystemExit("the papers' trials run already in another process; wait for it, or end it") from None
        yield


def row(found: Standing) -> Row:
    """The row of one claim: its verdict, its answers, its tables' cells."""
    claim = found.claim
    answers: list[dict[str, Any]] = []
    for question, answer in found.answers:
        ends = {} if answer is None else {"mean": answer.mean, "low": answer.low, "high": answer.high, "n": answer.n}
        answers.append(
            {"question": question.text, "decided": question.decided(answer), "seeds": question.seeds, **ends}
        )
    results = {"verdict": found.verdict, "decided": found.decided, "answers": answers}
    results |= {"pieces": len(found.pieces), "of": len(claim.trials), "cpu_hours": round(found.hours, 3)}
    results |= {"cells": claim.cells(found.pieces), "remarks": claim.remarks(found.pieces)}
    return Row(claim.name, claim.text, {"paper": claim.paper, "shape": claim.shape}, results)


def _decided(found: Sequence[Standing]) -> Headline:
    names = ", ".join(one.claim.name for one in found if one.decided) or "none"
    note = f"of {len(found)} claims, those whose 95 % intervals over paired seeds exclude zero or are narrower than "
    note += f"± 0.3 points: {names}"
    return Headline(float(sum(one.decided for one in found)), "claims", ">= 6", note)
