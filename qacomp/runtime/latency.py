"""Measure how long one inference takes in onnxruntime on this machine's CPU."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from qacomp.errors import ConfigError
from qacomp.runtime.session import OnnxModel, Session, open_session, run_session, timed_runs


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
    """Measure `runs` inferences on a fixed random batch, after `warmup` untimed ones.

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
    run_session(session, x)
    feed = {session.get_inputs()[0].name: x}
    return replace(feed_latency(session, feed, runs=runs, warmup=warmup), batch_size=batch_size, threads=threads)


def feed_latency(session: Session, feed: Mapping[str, np.ndarray], *, runs: int = 100, warmup: int = 10) -> Latency:
    """Measure `runs` inferences of a session with one thread on one feed, which counts as one example.

    There are fewer runs if all would take longer than the time limit of a run. Time is taken inside the process that
    runs the model, without the exchange of inputs and outputs.
    """
    times = timed_runs([session], feed, runs=runs, warmup=warmup)
    p50, p95 = (1e3 * float(q) for q in np.percentile(times, [50, 95]))
    return Latency(p50, p95, len(times), 1, 1)
