"""The container as a whole: what it costs beside the payload, how it scales, what random access takes."""

import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import networks
import numpy as np
from result import Headline, Results, Row, median, shared_folder, spread

from qacomp.formats import Coding, Level, SharedTensor, Writer, open_file, save_file

LENET5 = {
    "conv1.weight": (20, 1, 5, 5),
    "conv1.bias": (20,),
    "conv2.weight": (50, 20, 5, 5),
    "conv2.bias": (50,),
    "fc1.weight": (500, 800),
    "fc1.bias": (500,),
    "fc2.weight": (10, 500),
    "fc2.bias": (10,),
}


def overhead() -> Results:
    """Bytes besides payloads: an empty file, LeNet-5, ResNet-20 with two vectors a batch norm."""
    rng = np.random.default_rng(0)
    lenet: dict[str, Any] = {}
    for name, shape in LENET5.items():
        array = rng.standard_normal(shape).astype(np.float32)
        lenet[name] = networks.cluster(array, 8) if array.ndim > 1 else array
    cases = {"empty": {}, "lenet5": lenet}
    folder = shared_folder()
    if folder is not None:
        state = networks.tensors(folder / "ckpt" / networks.CHECKPOINTS["resnet20_cifar10j"])
        kept = {n: t for n, t in state.items() if not n.endswith(("running_mean", "running_var"))}
        cases["resnet20"] = {n: networks.cluster(t, 8) if t.ndim > 1 else t for n, t in kept.items()}
    rows, per_tensor = [], []
    with tempfile.TemporaryDirectory() as scratch:
        for name, tensors in cases.items():
            report = save_file(Path(scratch) / "a.qac", tensors, precision="fp16")
            results = {"container_bytes": report.container_bytes, "overhead_bytes": report.overhead_bytes}
            results["tensors"] = len(tensors)
            rows.append(Row(f"overhead_{name}", "prefix, header with all names, padding", {"k": 8}, results))
            if tensors:
                per_tensor.append((report.overhead_bytes - 256) / len(tensors))
    fixed = float(rows[0].results["overhead_bytes"])
    note = "LeNet-5 and ResNet-20: (file minus section payloads minus 256) over tensors, names included; the worse"
    return rows, {
        "fixed_bytes": Headline(fixed, "bytes", "<= 256", "a file without tensors"),
        "bytes_per_tensor": Headline(max(per_tensor), "bytes", "<= 24", note),
    }


def two_cores(size: str) -> Results:
    """A file of 256 M weights, K = 16, decoded to indices by one process and by two, wall clock in turns."""
    rows_count, columns, k = 1 << 14, 1 << 14, 16
    rng = np.random.default_rng(0)
    edges = np.linspace(-2.5, 2.5, k + 1)[1:-1]
    indices = np.empty((rows_count, columns), np.uint8)
    for start in range(0, rows_count, 1024):
        draws = rng.standard_normal((1024, columns), dtype=np.float32)
        indices[start : start + 1024] = np.searchsorted(edges, draws)
    book = np.linspace(-1, 1, k, dtype=np.float32)
    times: dict[int, list[float]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "a.qac"
        start_time = time.perf_counter()
        save_file(path, {"w": SharedTensor(book, indices)}, coding=Coding(codecs=("rans",), threads=2))
        write_seconds = time.perf_counter() - start_time
        for _ in range(4 if size == "small" else 8):
            for threads in times:
                with open_file(path, threads=threads) as container:
                    start_time = time.perf_counter()
                    decoded = container.shared("w").indices
                    times[threads].append(time.perf_counter() - start_time)
                    assert decoded[-1, -1] == indices[-1, -1]
                    del decoded
        stored = path.stat().st_size
    ratios = [one / two for one, two in zip(times[1], times[2], strict=True)]
    results = {
        "one_process_m_weights_s": indices.size / median(times[1]) / 1e6,
        "two_processes_m_weights_s": indices.size / median(times[2]) / 1e6,
        "write_seconds": write_seconds,
        "bytes": stored,
        "ratios": ratios,
        "load_average": os.getloadavg()[0],
    }
    note = "256 M weights, K = 16, wall clock in turns, forked processes over shared memory; other jobs ran beside it "
    note += f"(load average {os.getloadavg()[0]:.1f})"
    headline = Headline(median(ratios), "x", ">= 1.5", note, spread(ratios))
    return [Row("two_cores", "decode with one process and two", {"weights": indices.size}, results)], {
        "decode_two_cores_speedup": headline
    }


class PeakMemory(threading.Thread):
    """Samples this process's own memory (anonymous and shared pages: mapped files can be dropped and don't count)."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.kib = 0

    def run(self) -> None:
        """A hundred times a second."""
        while True:
            lines = Path("/proc/self/status").read_text().splitlines()
            now = sum(int(line.split()[1]) for line in lines if line.startswith(("RssAnon", "RssShmem")))
            self.kib = max(self.kib, now)
            time.sleep(0.01)


def stream_large(source: str, target: str) -> None:
    """Run in a process of its own: convert a safetensors file by tensors, decode it, tell peak memory and times."""
    from safetensors import safe_open

    peak = PeakMemory()
    peak.start()
    start = time.perf_counter()
    with safe_open(source, framework="numpy") as reader, Writer(target) as writer:
        for name in reader.keys():  # noqa: SIM118 - not a dict
            writer.add(name, reader.get_tensor(name))
    written = time.perf_counter() - start
    after_write = peak.kib
    start = time.perf_counter()
    with open_file(target) as container:
        for name in container.names:
            container.tensor(name)
    decoded = time.perf_counter() - start
    picks = []
    for _ in range(5):
        start = time.perf_counter()
        with open_file(target) as container:
            container.tensor("small")
        picks.append(time.perf_counter() - start)
    print(written, decoded, median(picks), after_write, peak.kib)


def large_file(size: str) -> Results:
    """A 2 GiB safetensors file of random fp32 weights, and one tensor of 1 MB in it."""
    from safetensors.numpy import save_file as save_safetensors

    count = 32  # of 64 MiB
    rng = np.random.default_rng(0)
    tensors = {f"layer{i:02}.weight": rng.standard_normal((4096, 4096), dtype=np.float32) * 0.02 for i in range(count)}
    tensors["small"] = rng.standard_normal((512, 512), dtype=np.float32) * 0.02
    with tempfile.TemporaryDirectory() as scratch:
        source, target = Path(scratch) / "a.safetensors", Path(scratch) / "a.qac"
        save_safetensors(tensors, source)
        del tensors
        code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import container; "
        code += f"container.stream_large({str(source)!r}, {str(target)!r})"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        written, decoded, picked, after_write, peak = map(float, done.stdout.split())
        results = {
            "source_bytes": source.stat().st_size,
            "container_bytes": target.stat().st_size,
            "write_seconds": written,
            "decode_seconds": decoded,
            "one_tensor_seconds": picked,
            "peak_mib_after_write": after_write / 1024,
            "peak_mib": peak / 1024,
        }
    headlines = {
        "random_access_share": Headline(
            100 * picked / decoded,
            "%",
            "< 1",
            "open, read one 1 MB tensor of a 2 GiB file; over the time to decode it all",
        ),
        "stream_peak_mib": Headline(
            peak / 1024,
            "MiB",
            "largest tensor (64 MiB) plus a constant",
            "peak memory of writing and decoding 2 GiB, mapped file pages left out",
        ),
    }
    return [Row("large_file", "2 GiB of fp32 weights, written and decoded tensor by tensor", {}, results)], headlines


def nested(layer: SharedTensor, sizes: tuple[int, ...]) -> SharedTensor:
    """The layer with coarser levels of these sizes, each cell joining neighbours."""
    counts = np.bincount(layer.indices.ravel(), minlength=len(layer.codebook)).astype(np.float64) + 1e-9
    book, levels = layer.codebook.astype(np.float64), []
    for k in reversed(sizes):
        parents = np.arange(len(book)) * k // len(book)
        weights = np.bincount(parents, counts, k)
        book = np.bincount(parents, counts * book, k) / weights
        counts = weights
        levels.append(Level(book.astype(np.float32), parents))
    return SharedTensor(layer.codebook, layer.indices, tuple(reversed(levels)))


def progressive() -> Results:
    """What nested levels cost over the finest level alone, on real weights."""
    folder = shared_folder()
    if folder is None:
        return [], {"progressive_cost_pct": Headline(None, "%", "<= 1", "skipped: no shared checkpoints")}
    rows, costs = [], []
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "a.qac"
        for name, file in networks.CHECKPOINTS.items():
            for sizes, k in (((4,), 16), ((4, 16), 64)):
                layers = networks.shared_layers(folder / "ckpt" / file, k)
                alone = save_file(path, layers, precision="fp16").container_bytes
                levels = save_file(
                    path, {n: nested(t, sizes) for n, t in layers.items()}, precision="fp16"
                ).container_bytes
                cost = 100 * (levels / alone - 1)
                results = {"finest_alone_bytes": alone, "levels_bytes": levels, "percent": cost}
                rows.append(Row(f"progressive_{name}_{k}", "nested codebooks", {"levels": [*sizes, k]}, results))
                costs.append(cost)
    note = "whole files, levels 4-16 and 4-16-64 of both ResNet-20s and silero over the finest alone; the worst"
    return rows, {"progressive_cost_pct": Headline(max(costs), "%", "<= 1", note)}


def run(size: str, seeds: int) -> Results:
    """All of it."""
    rows: list[Row] = []
    headlines: dict[str, Headline] = {}
    for part in (overhead, progressive, lambda: two_cores(size), lambda: large_file(size)):
        more_rows, more_headlines = part()
        rows += more_rows
        headlines |= more_headlines
    return rows, headlines
