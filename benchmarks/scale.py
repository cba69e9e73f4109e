"""Large models: memory, workers, a cluster, speed of a core, and what a cluster of many machines would do.

A folder of bfloat16 shards is made; QACOMP_SCALE_MIB sets its size (8192 for 8 GiB), QACOMP_SCALE_ROWS some groups of
rows. Everything runs in processes of its own: `_scale_child.py` says what each one does.
"""

import filecmp
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from _scale_minilm import minilm_rows, minilm_words_rows
from _scale_reader import install_rows, range_rows, small_rows
from _scale_text import decoder_rows
from result import Headline, Results, Row, median, spread

from qacomp.workers.running import completed
from qacomp.workers.simulated import Machines, SimulatedPool

HERE = Path(__file__).parent
MIB = int(os.environ.get("QACOMP_SCALE_MIB", "256"))
TENSOR = 1 << 24  # weights, so 32 MiB each: 4096 × 4096
WARM = 1 << 16  # weights of each of two tensors, for a run that only starts a cluster
TURNS = 3  # of a cluster and a pool: one run differs from the next by a tenth
PIECE = 8 << 20  # weights of one tensor, for the speed of a core
MACHINES, TASKS = 1_000, 5_000  # simulated


def some_rows() -> bool:
    """Return whether QACOMP_SCALE_ROWS names some groups only: folder, speed, simulated, small, ..."""
    return "QACOMP_SCALE_ROWS" in os.environ


def run(size: str, seeds: int) -> Results:
    """The suite: rows and headlines."""
    rows: list[Row] = []
    headlines: dict[str, Headline] = {}
    groups = {
        "memory": memory_rows,
        "folder": folder_rows,
        "speed": speed_rows,
        "simulated": simulated_rows,
        "decoder": decoder_rows,
        "minilm": minilm_rows,
        "minilm_words": minilm_words_rows,
        "small": small_rows,
        "ranges": range_rows,
        "install": install_rows,
    }
    wanted = os.environ.get("QACOMP_SCALE_ROWS", ",".join(groups)).split(",")
    for name in wanted:
        more, told = groups[name](seeds)
        rows += more
        headlines |= told
    return rows, headlines


def memory_rows(seeds: int) -> Results:
    """Measure the memory of one process that compresses a folder, by rate and with K = 16, and decodes it."""
    with tempfile.TemporaryDirectory(prefix="qacomp-scale-") as folder:
        root = Path(folder)
        child("make", root / "large", MIB, TENSOR)
        rate = child("compress", root / "large", root / "rate.qac", "1")
        back = child("decode", root / "rate.qac", root / "back", "1")
        shutil.rmtree(root / "back")
        (root / "rate.qac").unlink()
        means = child("compress", root / "large", root / "k16.qac", "1", "16")
    rows = [
        Row("memory_rate", "compress by rate", folder_settings(), rate),
        Row("memory_k16", "compress with K = 16", folder_settings(), means),
        Row("memory_decode", "decode to the folder", folder_settings(), back),
    ]
    note = "the largest memory of the process, by rate, with K = 16 and to decode, less that of the largest tensor"
    most = max(found["peak_mib"] for found in (rate, means, back)) - (TENSOR >> 19)
    return rows, {"scale_peak_mib": Headline(most, "MiB", "<= 400", f"{note}; {folder_text()}")}


def folder_rows(seeds: int) -> Results:
    """A folder by one and two processes and by a cluster."""
    with tempfile.TemporaryDirectory(prefix="qacomp-scale-") as folder:
        root = Path(folder)
        child("make", root / "large", MIB, TENSOR)
        child("make", root / "small", 1, WARM)
        one = child("compress", root / "large", root / "one.qac", "1")
        two = child("compress", root / "large", root / "two.qac", "2")
        same = filecmp.cmp(root / "one.qac", root / "two.qac", shallow=False)
        back = [child("decode", root / "one.qac", root / f"back{n}", str(n)) for n in (1, 2)]
        turns = cluster_turns(root)
    settings = folder_settings()
    rows = [
        Row("one_worker", "compress by one process", settings, one),
        Row("two_workers", "compress by two processes", settings, {**two, "same_bytes": same}),
        Row("decode", "decode to the folder by one and two processes", settings, {"one": back[0], "two": back[1]}),
    ]
    headlines = {
        "scale_two_workers": Headline(
            one["seconds"] / two["seconds"],
            "x",
            ">= 1.8",
            f"compress: seconds with one worker over seconds with two; {folder_text()}",
        ),
        "scale_two_workers_decode": Headline(
            back[0]["seconds"] / back[1]["seconds"], "x", ">= 1.8", "decode to a folder: the same ratio"
        ),
    }
    if turns:
        told = {"turns": [{"cluster": cluster, "pool": pool} for cluster, pool in turns]}
        rows.append(
            Row("cluster", "compress by a Dask cluster of two processes, and by a pool, in turn", settings, told)
        )
        ratios = {
            what: median([cluster[what] for cluster, _ in turns]) / median([pool[what] for _, pool in turns])
            for what in ("seconds", "cpu_seconds")
        }
        headlines["scale_dask_overhead"] = Headline(
            ratios["seconds"],
            "x",
            "<= 1.15",
            "seconds on a local Dask cluster, which runs already, its profiler off, over those of the pool, whose "
            f"start counts, medians of {len(turns)} turns; "
            f"CPU seconds of all processes: {ratios['cpu_seconds']:.2f}x; {folder_text()}",
        )
    return rows, headlines


def folder_settings() -> dict[str, Any]:
    """Return the size of the folder and of its tensors."""
    return {"mib": MIB, "values": max(1, (MIB << 19) // TENSOR) * TENSOR, "largest_tensor_mib": TENSOR >> 19}


def folder_text() -> str:
    """Say the same in words."""
    return f"{MIB} MiB of bfloat16 in tensors of {TENSOR >> 19} MiB"


def speed_rows(seeds: int) -> Results:
    """Measure what one core does."""
    speeds = [child("piece", PIECE)["mweights_s"] for _ in range(max(1, seeds))]
    rows = [Row("speed", "share and code bfloat16 weights in one process", {"values": PIECE}, {"mweights_s": speeds})]
    note = "millions of weights a CPU second of one process: shared by rate, coded and written, median"
    return rows, {"scale_mweights_s": Headline(median(speeds), "M/s", ">= 3", note, spread(speeds))}


def simulated_rows(seeds: int) -> Results:
    """Simulate what a cluster would do."""
    slower, faster = (simulated(copies=copies) for copies in (False, True))
    told = {"without_copies": slower, "with_copies": faster}
    text = "one in fifty machines 20 times slower, each dies once in 20 hours"
    note = "ideal time over that of 1,000 simulated machines, some slow, some dying; "
    note += f"without copies of slow tasks {slower['efficiency']:.2f}"
    headline = Headline(faster["efficiency"], "", ">= 0.8", note)
    rows = [Row("simulated", text, simulated_settings(), told)]
    return rows, {"scale_simulated_efficiency": headline}


def cluster_turns(root: Path) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Return what a cluster takes, and then a pool while there is no cluster, a few times; empty without Dask."""
    turns = []
    for number in range(TURNS):
        cluster = on_cluster(root)
        if cluster is not None:
            turns.append((cluster, child("compress", root / "large", root / f"two{number}.qac", "2")))
    return turns


def on_cluster(root: Path) -> dict[str, Any] | None:
    """Measure what a local Dask cluster takes, its profiler left out as docs/scaling.md says; None without Dask."""
    try:
        import dask
        from distributed import LocalCluster
    except ImportError:
        return None
    dask.config.set({"distributed.worker.profile.enabled": False})
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50) as cluster:
        child("compress", root / "small", root / "warm.qac", cluster.scheduler_address)
        before = cluster_cpu()
        found = child("compress", root / "large", root / "dask.qac", cluster.scheduler_address)
        found["cpu_seconds"] += cluster_cpu() - before
        same = filecmp.cmp(root / "one.qac", root / "dask.qac", shallow=False)
        return {**found, "same_bytes": same}


def cluster_cpu() -> float:
    """CPU seconds of the cluster: of this process, which has the scheduler, and of its workers, which still run."""
    import psutil  # comes with distributed

    here = psutil.Process()
    times = [process.cpu_times() for process in (here, *here.children(recursive=True))]
    return sum(t.user + t.system for t in times)


def child(*words: object) -> dict[str, Any]:
    """Run one step in a process of its own, and return what it measured."""
    command = [sys.executable, str(HERE / "_scale_child.py"), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def simulated_settings() -> dict[str, Any]:
    """Return what is simulated: tasks of 5 to 15 minutes."""
    return {"machines": MACHINES, "tasks": TASKS, "slow": 0.02, "factor": 20, "mtbf_hours": 20}


def simulated(*, copies: bool) -> dict[str, Any]:
    """Hours of simulated machines, and the share of the ideal."""
    seconds = np.random.default_rng(0).uniform(300, 900, TASKS).tolist()
    told = simulated_settings()
    machines = Machines(MACHINES, told["slow"], told["factor"], told["mtbf_hours"], copies)
    pool = SimulatedPool(machines, lambda task: task)
    done = sum(1 for _ in completed(seconds, lambda task: None, pool, str))
    assert done == TASKS
    ideal = sum(seconds) / MACHINES
    return {"hours": pool.now / 3600, "died": pool.died, "efficiency": ideal / pool.now}
