"""How long one inference takes in onnxruntime on this machine's CPU."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from qacomp.errors import ConfigError
from qacomp.evaluation.session import OnnxModel, open_session, run_session


@dataclass(frozen=True)
class Latency:
    """Wall-clock time of one run over a batch: median and 95th percentile in milliseconds."""

    p50_ms: float
    p95_ms: float
    runs: int
    batch_size: int
    threads: int


def onnx_latency(
    model: OnnxModel,
    input_shape: tuple[int, ...],
    *,
    batch_size: int = 1,
    runs: int = 100,
    warmup: int = 10,
    threads: int = 1,
) -> Latency:
    """Time `runs` inferences on a fixed random batch, after `warmup` that aren't counted.

    Args:
        model: a path, serialized bytes, or a ModelProto.
        input_shape: one example's shape, such as (C, H, W).
        batch_size: examples a run.
        runs: timed runs, at least 1.
        warmup: untimed runs before them.
        threads: threads within an operator; 0 is all cores.

    Raises:
        ConfigError: a count is out of range.
        DataError: the model can't take the input shape.
        NotACheckpointError, ExportError: onnxruntime can't load the model.
    """
    for name, value, least in (("runs", runs, 1), ("warmup", warmup, 0), ("batch_size", batch_size, 1)):
        if value < least:
            raise ConfigError(f"{name} is {value}: give at least {least}")
    session = open_session(model, threads=threads)
    x = np.random.default_rng(0).standard_normal((batch_size, *input_shape)).astype(np.float32)
    p50, p95 = _timed(lambda: run_session(session, x), runs, warmup)
    return Latency(p50, p95, runs, batch_size, threads)


def feed_latency(session: Any, feed: Mapping[str, np.ndarray], *, runs: int = 100, warmup: int = 10) -> Latency:
    """Time `runs` inferences of an onnxruntime session of one thread on one feed, which counts as one example."""
    p50, p95 = _timed(lambda: session.run(None, feed), runs, warmup)
    return Latency(p50, p95, runs, 1, 1)


def _timed(work: Callable[[], object], runs: int, warmup: int) -> tuple[float, float]:
    """Median and 95th percentile in milliseconds."""
    for _ in range(warmup):
        work()
    times = np.empty(runs)
    for i in range(runs):
        start = time.perf_counter()
        work()
        times[i] = time.perf_counter() - start
    p50, p95 = (1e3 * float(q) for q in np.percentile(times, [50, 95]))
    return p50, p95
