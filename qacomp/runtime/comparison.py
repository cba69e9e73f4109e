"""Compare an exported ONNX file with the dense file of the same weights: outputs, load time and latency."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qacomp.errors import ExportError
from qacomp.runtime.session import Session, open_session, timed_runs

FP32_ACTIVATIONS = {"session.qdq_matmulnbits_accuracy_level": "0"}
"""Session settings without which onnxruntime quantizes the activations before a fused int4 MatMul to int8."""
_LOADS = 5
_RUNS = 50
_SECONDS = 2.0  # about the longest time for the runs of one file


@dataclass(frozen=True)
class Comparison:
    """An exported file beside the dense file.

    max_abs_error: the largest absolute difference between their outputs; max_abs_error_fp32: the same without quantized
    activations (see FP32_ACTIVATIONS). The times are medians in milliseconds, on one thread.
    """

    max_abs_error: float
    max_abs_error_fp32: float
    load_ms: float
    dense_load_ms: float
    run_ms: float
    dense_run_ms: float

    def to_json(self) -> dict[str, float]:
        """Return the figures as in `decode --json`."""
        return asdict(self)


def compare_files(path: Path, dense: Path, feeds: Mapping[str, NDArray[Any]]) -> Comparison:
    """Run both files on `feeds` (inputs by name), and time loading and running, alternating between the files.

    Raises ExportError if the outputs differ in number or shape, and the errors of `open_session`.
    """
    files = {"made": path, "dense": dense}
    loads: dict[str, list[float]] = {name: [] for name in files}
    sessions: dict[str, Session] = {}
    for _ in range(_LOADS):
        for name, file in files.items():
            sessions.pop(name, None)
            sessions[name] = open_session(file, threads=1)
            loads[name].append(sessions[name].seconds)
    outputs = {name: session.run(None, feeds) for name, session in sessions.items()}
    exact = open_session(path, threads=1, settings=FP32_ACTIVATIONS).run(None, feeds)
    runs = timed_runs(list(sessions.values()), feeds, runs=_RUNS, most_seconds=_SECONDS * len(files))
    load = {name: 1e3 * float(np.median(seconds)) for name, seconds in loads.items()}
    run_ms, dense_run_ms = (1e3 * float(seconds) for seconds in np.median(runs, axis=0))
    return Comparison(
        outputs_difference(outputs["made"], outputs["dense"]),
        outputs_difference(exact, outputs["dense"]),
        load["made"],
        load["dense"],
        run_ms,
        dense_run_ms,
    )


def largest_difference(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Compute the largest |a − b| of two arrays of the same shape.

    Two NaNs differ by 0, a NaN and a number by infinity; so do strings that differ.
    """
    if not a.size or a.tobytes() == b.tobytes():
        return 0.0
    if a.dtype.kind not in "fiub" or b.dtype.kind not in "fiub":
        return 0.0 if np.array_equal(a, b) else float("inf")
    x, y = a.astype(np.float64), b.astype(np.float64)
    with np.errstate(invalid="ignore"):  # infinite values on both sides
        apart = np.abs(np.where((x == y) | (np.isnan(x) & np.isnan(y)), 0.0, x - y))
    return float("inf") if np.isnan(apart).any() else float(apart.max())


def outputs_difference(one: Sequence[Any], other: Sequence[Any]) -> float:
    """Compute the largest difference over pairs of outputs; see `largest_difference`.

    Raises ExportError if the outputs differ in number or shape.
    """
    if len(one) != len(other):
        raise ExportError(f"the models have {len(one)} and {len(other)} outputs: they aren't the same network")
    worst = 0.0
    for a, b in zip(one, other, strict=True):
        a, b = np.asarray(a), np.asarray(b)
        if a.shape != b.shape:
            raise ExportError(f"outputs have shapes {a.shape} and {b.shape}: the models aren't the same network")
        worst = max(worst, largest_difference(a, b))
    return worst
