"""Fuzz the reader with mutants of structure: no other process, no coverage, so a mutant takes about a millisecond.

python tests/fuzz/structured.py --mutants 1000000 --workers 2 --state DIR --json OUT, or --replay NUMBER for one. A run
that was broken off goes on where it was, given the same state folder.
"""

import argparse
import importlib
import json
import os
import resource
import signal
import struct
import sys
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE))

from mutator import Mutator  # noqa: E402
from reading import content_digest, outcome  # noqa: E402
from seeds import build  # noqa: E402

BLOCK = 2_000
SECONDS, BYTES = 5, 1 << 30
"""No mutant may take more CPU time, or more memory beside what the process has before."""


class TooSlow(Exception):
    """A mutant took more than SECONDS of CPU time."""


@dataclass
class Tally:
    """What came of some mutants, by kind; findings: what should never come, with the mutant's number."""

    outcomes: Counter[str] = field(default_factory=Counter)
    sealed: Counter[str] = field(default_factory=Counter)
    slowest: list[Any] = field(default_factory=lambda: [0.0, -1, ""])
    cpu_seconds: float = 0.0
    peak_bytes: int = 0
    findings: list[dict[str, Any]] = field(default_factory=list)

    def add(self, other: "Tally") -> None:
        """Take in another's."""
        self.outcomes.update(other.outcomes)
        self.sealed.update(other.sealed)
        self.slowest = max(self.slowest, other.slowest)
        self.cpu_seconds += other.cpu_seconds
        self.peak_bytes = max(self.peak_bytes, other.peak_bytes)
        self.findings += other.findings

    @staticmethod
    def of(record: dict[str, Any]) -> "Tally":
        """The inverse of `vars`, from JSON."""
        fields = {key: record[key] for key in ("slowest", "cpu_seconds", "peak_bytes", "findings")}
        return Tally(Counter(record["outcomes"]), Counter(record["sealed"]), **fields)


def peak() -> int:
    """The most memory that this process has had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _pages(column: int) -> int:
    """Bytes of this process's address space (0) or of what is in memory (1), as Linux tells; 0 elsewhere."""
    status = Path("/proc/self/statm")
    return int(status.read_text().split()[column]) * resource.getpagesize() if status.exists() else 0


class Trials:
    """Makes mutants and reads them, one after the other, within the limits of time and memory."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        files = build()
        self.digests = {name: content_digest(data) for name, data in files.items()}
        self.mutator = Mutator(files)
        self.base = _pages(1)

    def limit(self) -> None:
        """Bound this process's memory and, once a timer is set, its time: for workers, not for tests."""
        if used := _pages(0):
            resource.setrlimit(resource.RLIMIT_AS, (used + BYTES, used + BYTES))
        signal.signal(signal.SIGPROF, _too_slow)

    def one(self, number: int, tally: Tally) -> None:
        """Try one mutant."""
        name, sealed, data = self.mutator.mutant(self.seed, number)
        start = time.process_time()
        try:
            kind = outcome(data, self.digests[name], sealed)
        except Exception as error:  # whatever it is, it is a finding
            kind = "finding"
            where = traceback.extract_tb(error.__traceback__)[-1]
            told = f"{type(error).__name__}: {str(error)[:200]} ({Path(where.filename).name}:{where.lineno})"
            tally.findings.append({"mutant": number, "of": name, "error": told})
        taken = time.process_time() - start
        tally.outcomes[kind] += 1
        tally.sealed["sealed" if sealed else "not sealed"] += 1
        tally.slowest = max(tally.slowest, [round(taken, 3), number, name])
        tally.cpu_seconds += taken

    def block(self, numbers: range, note: Any = None) -> Tally:
        """Try a run of mutants; note: a file that is told the number of each before."""
        tally = Tally()
        for number in numbers:
            if note is not None:
                os.pwrite(note.fileno(), struct.pack("<q", number), 0)
                signal.setitimer(signal.ITIMER_PROF, SECONDS)
            self.one(number, tally)
        if note is not None:
            signal.setitimer(signal.ITIMER_PROF, 0)
        tally.peak_bytes = peak() - self.base
        return tally


def _too_slow(number: int, frame: FrameType | None) -> None:
    raise TooSlow(f"more than {SECONDS} seconds of CPU time")


def worker(trials: Trials, blocks: list[range], state: Path, number: int) -> int:
    """A worker's whole life: its blocks, each a line of its file when it is done."""
    trials.limit()
    with (state / f"at-{number}").open("wb") as note:
        for block in blocks:
            tally = trials.block(block, note)
            with (state / f"done-{number}.jsonl").open("a") as done:
                done.write(json.dumps({"first": block.start, "count": len(block), **vars(tally)}) + "\n")
    return 0


def finished(state: Path) -> dict[int, Tally]:
    """The blocks that are done, by their first number."""
    done = {}
    for path in sorted(state.glob("done-*.jsonl")):
        for line in path.read_text().splitlines():
            record = json.loads(line)
            done[record["first"]] = Tally.of(record)
    return done


def run(trials: Trials, mutants: int, workers: int, state: Path) -> Tally:
    """All mutants on some processes; one that dies is a finding, and the others of its block are tried without it."""
    state.mkdir(parents=True, exist_ok=True)
    what = json.dumps({"seed": trials.seed, "commit": _result().commit(), "code": _result().code()})
    if (state / "what").exists() and (state / "what").read_text() != what:
        raise SystemExit(f"{state} is of another seed or other code: name another folder")
    (state / "what").write_text(what)
    blocks = [range(first, min(first + BLOCK, mutants)) for first in range(0, mutants, BLOCK)]
    total = Tally()
    while left := [block for block in blocks if block.start not in finished(state)]:
        pids = {}
        for number in range(workers):
            if (pid := os.fork()) == 0:
                try:
                    os._exit(worker(trials, left[number::workers], state, number))
                finally:
                    os._exit(1)
            pids[pid] = number
        for pid, number in pids.items():
            if (status := os.waitpid(pid, 0)[1]) == 0:
                continue
            at = struct.unpack("<q", (state / f"at-{number}").read_bytes())[0]
            finding = {"mutant": at, "of": "?", "error": f"the process died with status {status}"}
            block = next(block for block in blocks if at in block)
            tally = Tally(Counter(finding=1, skipped=len(block) - 1), findings=[finding])
            with (state / f"done-{number}.jsonl").open("a") as done:
                done.write(json.dumps({"first": block.start, "count": len(block), **vars(tally)}) + "\n")
    for tally in finished(state).values():
        total.add(tally)
    return total


def _result() -> Any:
    """benchmarks/result.py, which isn't a package's."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    return importlib.import_module("result")


def document(trials: Trials, mutants: int, total: Tally, state: Path) -> dict[str, Any]:
    """The result in the shape that all benchmarks have; the code is that which the run began with."""
    result = _result()
    results = {
        "outcomes": dict(sorted(total.outcomes.items())),
        **{key.replace(" ", "_"): count for key, count in total.sealed.items()},
        "slowest_cpu_seconds": total.slowest[0],
        "slowest_mutant": total.slowest[1],
        "peak_bytes_above_start": total.peak_bytes,
        "cpu_seconds": round(total.cpu_seconds, 1),
        "findings": total.findings,
    }
    rows = [
        result.Row(
            "structured mutants",
            "fields, codec parameters, tables, lengths and metadata changed; half with every checksum made right",
            {"mutants": mutants, "seed": trials.seed, "seed_files": sorted(trials.mutator.names)},
            results,
        )
    ]
    headlines = {
        "mutants": result.Headline(mutants, "mutants", ">= 1,000,000", "half of them with checksums made right"),
        "findings": result.Headline(len(total.findings), "mutants", "0", "neither refused, nor identical, nor valid"),
        "slowest": result.Headline(total.slowest[0], "CPU s", "<= 5", "of one mutant, everything in it read"),
        "memory": result.Headline(
            round(total.peak_bytes / (1 << 20), 1), "MiB", "<= 1024", "above the process before its first mutant"
        ),
    }
    made: dict[str, Any] = result.document("fuzz", {"mutants": mutants, "seed": trials.seed}, rows, headlines)
    what = json.loads((state / "what").read_text())
    return made | {key: what[key] for key in ("commit", "code")}


def main() -> int:
    """Run, print what came of it, write the document; 1 where there is a finding."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutants", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--state", type=Path, default=ROOT / "tests" / "fuzz" / ".state")
    parser.add_argument("--json", type=Path, help="where the result goes")
    parser.add_argument("--replay", type=int, help="read this one mutant, and leave what it raises alone")
    arguments = parser.parse_args()
    trials = Trials(arguments.seed)
    if arguments.replay is not None:
        name, sealed, data = trials.mutator.mutant(arguments.seed, arguments.replay)
        print(f"of {name}, {'sealed' if sealed else 'not sealed'}, {len(data)} bytes")
        print(outcome(data, trials.digests[name], sealed))
        return 0
    total = run(trials, arguments.mutants, arguments.workers, arguments.state)
    made = document(trials, arguments.mutants, total, arguments.state)
    if arguments.json:
        _result().write(arguments.json, made)
    print(json.dumps(made["rows"][0]["results"], indent=1))
    return int(bool(total.findings))


if __name__ == "__main__":
    sys.exit(main())
