"""The bytes of small compressions of every kind, and what decode makes of them, are those that were recorded.

Floating-point sums differ between processors and versions of libraries, so a record counts where it was made: on
another machine the tests skip. `QACOMP_RECORD_DIGESTS=1 pytest tests/digests` records anew; a change that moves code
alone must not need it. Where metadata changed since a machine recorded, graph and tensors alone count there.
"""

import hashlib
import importlib.util
import json
import os
import platform
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import qacomp
from qacomp.formats import open_file
from qacomp.result import Result

RECORD = Path(__file__).with_name("recorded.json")
LIBRARIES = ("torch", "numpy", "onnx", "onnxruntime", "onnxscript", "scikit-learn", "zstandard")


def load_cases() -> ModuleType:
    """Import cases.py by its path; tests are no package."""
    spec = importlib.util.spec_from_file_location("digest_cases", Path(__file__).with_name("cases.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def machine() -> str:
    """Return the processor and the versions that floating-point results depend on, in one line."""
    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
        told = [line for line in lines if line.startswith(("model", "cpu family", "stepping", "flags"))]
        processor = hashlib.sha256("\n".join(told).encode()).hexdigest()[:16]
    except OSError:
        processor = platform.processor()
    versions = [f"{name} {metadata.version(name)}" for name in LIBRARIES]
    return ", ".join([processor, f"Python {platform.python_version()}", *versions])


def digests(result: Result) -> dict[str, str]:
    """Return SHA-256 of the container, its graph, its metadata and the tensors that decode gives, in hex."""
    with open_file(result.output) as container:
        graph, meta = container.graph() or b"", json.dumps(container.meta, sort_keys=True).encode()
    tensors = hashlib.sha256()
    for name, array in qacomp.decode(result, to="numpy").items():
        tensors.update(f"{name}\0{array.dtype}\0{array.shape}\0".encode() + np.ascontiguousarray(array).tobytes())
    found = {"graph": graph}
    if not result.source.endswith(".jit"):  # torch writes the folders of source files into such an archive
        found |= {"container": result.output.read_bytes(), "metadata": meta}
    return {name: hashlib.sha256(data).hexdigest() for name, data in found.items()} | {"tensors": tensors.hexdigest()}


def recorded() -> dict[str, Any]:
    """Return the record of this machine; empty where there is none."""
    known: dict[str, dict[str, Any]] = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    return known.get(machine(), {})


def write_record(name: str, found: dict[str, str]) -> None:
    """Add one case to the record of this machine."""
    known = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    known.setdefault(machine(), {})[name] = found
    RECORD.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")


@pytest.mark.parametrize("name", list(load_cases().cases(Path())))
def test_the_bytes_are_those_recorded(name: str, tmp_path: Path) -> None:
    wanted = recorded().get(name)
    recording = os.environ.get("QACOMP_RECORD_DIGESTS") == "1"
    if wanted is None and not recording:
        pytest.skip("recorded on another machine")
    found = digests(load_cases().cases(tmp_path)[name]())
    if recording or wanted is None:
        write_record(name, found)
    else:
        assert wanted.keys() >= {"graph", "tensors"}
        assert {kind: found[kind] for kind in wanted} == wanted
