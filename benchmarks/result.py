"""The one JSON shape of all benchmarks, and how things are timed: in turns, medians."""

import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
CODE = ("formats", "qacomp")
RESULTS = ROOT / "benchmarks" / "results"


@dataclass(frozen=True)
class Row:
    """One measurement: a name, what it is in a sentence, what it was run with, what came out."""

    name: str
    description: str
    settings: dict[str, Any] = field(default_factory=dict)
    results: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Headline:
    """A figure with a bar to reach; sd over seeds or repeats, None where there is one; note: how it was measured."""

    value: float | None
    unit: str
    bar: str
    note: str
    sd: float | None = None


Results = tuple[list[Row], dict[str, Headline]]
"""What a suite, or a part of one, gives: its rows, and its headlines by key."""


def in_turns(tasks: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """CPU seconds of each task, `repeats` times, one task after the other in every round, after one warm-up round."""
    times: dict[str, list[float]] = {name: [] for name in tasks}
    for round_number in range(repeats + 1):
        for name, task in tasks.items():
            start = time.process_time()
            task()
            if round_number:
                times[name].append(time.process_time() - start)
    return times


def median(values: list[float]) -> float:
    """The median."""
    return float(statistics.median(values))


def spread(values: list[float]) -> float | None:
    """Standard deviation of two or more values."""
    return float(statistics.stdev(values)) if len(values) > 1 else None


def environment() -> dict[str, Any]:
    """Processor, cores, Python and the versions of what the figures depend on."""
    versions = {}
    for name in ("numpy", "zstandard", "torch", "onnx", "onnxruntime", "scikit-learn", "constriction", "nncodec"):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    model = platform.processor()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.split(": ")[1] for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return {"cpu": model, "cores": os.cpu_count(), "python": platform.python_version(), "packages": versions}


def commit() -> str:
    """The commit that is measured, with a plus where the code has uncommitted changes."""
    head = _git("rev-parse", "--short", "HEAD")
    return "unknown" if head is None else head + _changed(*CODE)


def code() -> dict[str, str]:
    """What is measured, by folder: git's tree ids, which stay where a commit is rebased and gets another name.

    `git rev-parse COMMIT:qacomp` gives the same for every commit with the same code; a plus as in `commit`.
    """
    trees = {folder: _git("rev-parse", "--short=12", f"HEAD:{folder}") for folder in CODE}
    return {folder: "unknown" if tree is None else tree + _changed(folder) for folder, tree in trees.items()}


def _changed(*folders: str) -> str:
    return "+" if _git("status", "--porcelain", "--untracked-files=no", "--", *folders) else ""


def _git(*words: str) -> str | None:
    """What git answers; None outside a checkout."""
    try:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def document(suite: str, settings: dict[str, Any], rows: list[Row], headlines: dict[str, Headline]) -> dict[str, Any]:
    """The document that `run.py` writes. Each row says what it was made with, as others may come from earlier runs."""
    made = {"commit": commit(), "code": code(), "settings": settings}
    return {
        "suite": suite,
        **made,
        "environment": environment(),
        "rows": [{**asdict(row), "made": made} for row in rows],
        "headlines": {key: asdict(headline) for key, headline in headlines.items()},
    }


def with_earlier(path: Path, data: dict[str, Any]) -> dict[str, Any]:
    """A document of some rows, joined with those of the document at `path`: its other rows and headlines stay."""
    if not path.exists():
        return data
    earlier = json.loads(path.read_text(encoding="utf-8"))
    then = {key: earlier[key] for key in ("commit", "code", "settings")}
    rows = {row["name"]: {"made": then, **row} for row in earlier["rows"]}  # in their places, also where made anew
    rows |= {row["name"]: row for row in data["rows"]}
    return {**data, "rows": list(rows.values()), "headlines": {**earlier["headlines"], **data["headlines"]}}


def write(path: Path, data: dict[str, Any]) -> None:
    """Write a document, indented, keys in order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=1, sort_keys=True) + "\n")


def shared_folder() -> Path | None:
    """Real checkpoints and data (QACOMP_SHARED, or ../shared beside the checkout), where there are any."""
    root = Path(os.environ.get("QACOMP_SHARED", ROOT.parent / "shared"))
    return root if (root / "ckpt").is_dir() else None
