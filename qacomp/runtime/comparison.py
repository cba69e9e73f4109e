"""An exported ONNX file beside the dense one of the same weights: outputs, load time, latency, in turns."""

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
"""onnxruntime quantizes the activations before a fused int4 MatMul to int8 unless this says no."""
_LOADS = 5
_RUNS = 50
_SECONDS = 2.0  # no more than about so long for the runs of one file


@dataclass(frozen=True)
class Comparison:
    """`max_abs_error`: largest difference of any output from the dense file's; `max_abs_error_fp32` the same without
    quantized activations (see FP32_ACTIVATIONS); medians in milliseconds, one thread; the files' bytes.
    """

    max_abs_error: float
    max_abs_error_fp32: float
    load_ms: float
    dense_load_ms: float
    run_ms: float
    dense_run_ms: float

    def to_json(self) -> dict[str, float]:
        """Return the entry in `decode --json`."""
        return asdict(self)


def compare_files(path: Path, dense: Path, feeds: Mapping[str, NDArray[Any]]) -> Comparison:
    """Run both files on `feeds`, and time loading and running in turns.

    Raises ExportError where the outputs differ in number or shape, and the errors of `open_session`.
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
    """Compute the largest |a − b| of two arrays of one shape.

    0 for equal values and NaN beside NaN; infinite where NaN stands on one side, and for strings that differ.
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

    Raises ExportError where the outputs differ in number or shape.
    """
    if len(one) != len(other):
        raise ExportError(f"{len(one)} outputs beside {len(other)}: the files aren't the same network")
    worst = 0.0
    for a, b in zip(one, other, strict=True):
        a, b = np.asarray(a), np.asarray(b)
        if a.shape != b.shape:
            raise ExportError(f"outputs of shapes {a.shape} and {b.shape}: the files aren't the same network")
        worst = max(worst, largest_difference(a, b))
    return worst
