"""What a report measures for itself: the ONNX files' sizes and latency, and the machine."""

import os
import platform
import tempfile
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qacomp.errors import QacompError
from qacomp.formats import open_file
from qacomp.graphs.metadata import metadata
from qacomp.report.contents import Contents, SizeStage

if TYPE_CHECKING:
    from qacomp.runtime.latency import Latency

_PACKAGES = ("qacomp", "numpy", "torch", "onnx", "onnxruntime", "zstandard")
_RUNS = 50


def measured(contents: Contents, path: Path) -> Contents:
    """Measure the ONNX files' sizes and latency, and return `contents` with them.

    What can't be measured here is said in the remarks: the page is written all the same.
    """
    remarks = list(contents.remarks)
    stages, latency = list(contents.stages), list(contents.latency)
    with open_file(path) as container:
        meta, graph = metadata(container), container.graph()
    if graph is None:
        remarks.append("The container holds no graph: no ONNX file, no latency.")
        return replace(contents, remarks=tuple(remarks))
    with tempfile.TemporaryDirectory(prefix="qacomp-") as folder:
        for mode in ("dense", "lut"):
            try:
                size, taken = _decoded(path, Path(folder, f"{mode}.onnx"), mode, meta)
            except QacompError as problem:
                remarks.append(f"Not measured, {mode} ONNX: {problem}")
                continue
            stages.append(SizeStage(f"decoded, {mode} ONNX", size))
            if isinstance(taken, str):
                remarks.append(taken)
            else:
                latency.append((f"{mode} ONNX, one input, one thread", taken.p50_ms, taken.p95_ms))
    return replace(contents, stages=tuple(stages), latency=tuple(latency), remarks=tuple(remarks))


def environment() -> tuple[tuple[str, str], ...]:
    """Return the machine and the versions of what computed, without importing any of it."""
    facts = [("Python", platform.python_version()), ("system", f"{platform.system()} {platform.machine()}")]
    facts.append(("processor", f"{_processor()}, {os.cpu_count()} threads"))
    for package in _PACKAGES:
        try:
            facts.append((package, version(package)))
        except PackageNotFoundError:  # a device without torch
            continue
    return tuple(facts)


def _decoded(path: Path, output: Path, mode: str, meta: dict[str, Any]) -> "tuple[int, Latency | str]":
    """Return the bytes of the file decoded in that mode, and its latency or why there is none."""
    from qacomp.exporting.decode import decode_file
    from qacomp.exporting.decoded_measuring import measure_latency
    from qacomp.exporting.onnx_options import OnnxOptions
    from qacomp.graphs.metadata import ORIGINAL
    from qacomp.runtime.latency import onnx_latency

    size = decode_file(path, output, onnx=OnnxOptions(mode)).output_bytes
    if meta.get("graph") == ORIGINAL:
        found, notes = measure_latency(output)
        return size, found or " ".join(notes)
    shape = meta.get("input_shape")
    if not isinstance(shape, list) or not all(type(side) is int and 0 < side < 1 << 16 for side in shape):
        return size, "The container names no input shape, so there is nothing to time."
    return size, onnx_latency(output, tuple(shape), runs=_RUNS)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
