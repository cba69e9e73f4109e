"""The queue of trials: one after the other until the time is over, broken off by Ctrl-C or SIGTERM between pieces."""

import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from _papers_claims import Claim
from _papers_pieces import FOLDER, run_trial, waiting

from qacomp.errors import QacompError


def work_off(claims: Sequence[Claim], minutes: float, folder: Path = FOLDER) -> int:
    """Run waiting trials, one after the other, until none is left or the time is over; return how many were run.

    Ctrl-C and SIGTERM end the work without a piece of the trial that was running. A trial that fails is told, and the
    next one is run.
    """
    ends, done = time.monotonic() + 60 * minutes, 0
    before = signal.signal(signal.SIGTERM, lambda number, frame: _stop())
    try:
        queue = waiting([trial for claim in claims for trial in claim.trials], folder)
        for place, trial in enumerate(queue):
            if time.monotonic() > ends:
                break
            try:
                piece = run_trial(trial, folder)
            except (
                QacompError
            ) as error:  # a training that diverged doesn't stop the others; it is tried again next time
                print(f"{trial.stem}: failed, {error}", file=sys.stderr, flush=True)
                continue
            done += 1
            print(f"{trial.stem}: {piece.seconds:.0f} s, {len(queue) - place - 1} pieces left", flush=True)
    except KeyboardInterrupt:
        print(f"broken off after {done} pieces; the same command goes on", file=sys.stderr)
    finally:
        signal.signal(signal.SIGTERM, before)
    return done


def _stop() -> None:
    raise KeyboardInterrupt
