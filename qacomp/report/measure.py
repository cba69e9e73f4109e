"""Measure for a report: the sizes and latency of the decoded ONNX files; and name the machine."""

import os
import platform
import tempfile
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qacomp.errors import QacompError
from qacomp.extras import naming_extra
from qacomp.graphs.metadata import metadata
from qacomp.remote import open_file
from qacomp.report.contents import Contents, SizeStage

if TYPE_CHECKING:
    from qacomp.runtime.latency import Latency

_PACKAGES = ("qacomp", "numpy", "torch", "onnx", "onnxruntime", "zstandard")
_RUNS = 50


def measured(contents: Contents, path: Path) -> Contents:
    """Measure the sizes and latency of the ONNX files, and return `contents` with them.

    If something can't be measured, a remark gives the reason, and the page is written without it.
    """
    remarks = list(contents.remarks)
    stages, latency = list(contents.stages), list(contents.latency)
    with open_file(path) as container:
        meta, graph = metadata(container), container.graph()
    if graph is None:
        remarks.append("The container has no graph, so there is no ONNX file and no latency.")
        return replace(contents, remarks=tuple(remarks))
    with tempfile.TemporaryDirectory(prefix="qacomp-") as folder:
        for mode in ("dense", "lut"):
            try:
                with naming_extra("an ONNX file"):
                    size, taken = _decoded(path, Path(folder, f"{mode}.onnx"), mode, meta)
            except QacompError as problem:
                remarks.append(f"The {mode} ONNX file isn't measured: {problem}")
                continue
            stages.append(SizeStage(f"decoded, {mode} ONNX", size))
            if isinstance(taken, str):
                remarks.append(taken)
            else:
                latency.append((f"{mode} ONNX, one input, one thread", taken.p50_ms, taken.p95_ms))
    return replace(contents, stages=tuple(stages), latency=tuple(latency), remarks=tuple(remarks))


def environment() -> tuple[tuple[str, str], ...]:
    """Return facts about the machine and the versions of installed packages, without importing them."""
    facts = [("Python", platform.python_version()), ("system", f"{platform.system()} {platform.machine()}")]
    facts.append(("processor", f"{_processor()}, {os.cpu_count()} threads"))
    for package in _PACKAGES:
        try:
            facts.append((package, version(package)))
        except PackageNotFoundError:  # a device without torch
            continue
    return tuple(facts)


def _decoded(path: Path, output: Path, mode: str, meta: dict[str, Any]) -> "tuple[int, Latency | str]":
    """Decode to `output` in `mode`; return the file's bytes, and its latency or the reason why it has none."""
    from qacomp.exporting.decode import decode_file
    from qacomp.exporting.decoded_measuring import measure_latency
    from qacomp.exporting.onnx_options import OnnxOptions
    from qacomp.graphs.metadata import ORIGINAL
    from qacomp.runtime.latency import onnx_latency

    size = decode_file(path, output, onnx=OnnxOptions(mode)).output_bytes
    if meta.get("graph") == ORIGINAL or "preprocessing" not in meta:  # a user's own inputs, or an ONNX model's
        found, notes = measure_latency(output)
        return size, found or " ".join(notes)
    shape = meta.get("input_shape")
    if not isinstance(shape, list) or not all(type(side) is int and 0 < side < 1 << 16 for side in shape):
        return size, "The container doesn't record the input's shape, so the latency isn't measured."
    return size, onnx_latency(output, tuple(shape), runs=_RUNS)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
