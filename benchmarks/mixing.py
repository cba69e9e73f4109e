"""Measure the codec mixing on files that sharing by rate made: bytes, and the time of reading them in C.

The same tensors are written with the codec and without it, as `--codec no-mixing` does. Whole files count, without
graph and metadata. Without the shared folder there are no rows.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from result import Headline, Results, Row, in_turns, median, shared_folder, spread

from qacomp.api import compress
from qacomp.formats import Coding, open_file, save_file
from qacomp.formats.native import open_native

_ROUNDS = 7
_MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "resnet20": ("resnet20_cifar10j.pth", {"arch": "resnet20", "target_size": "78000"}),
    "ultraface": ("ultraface_RFB-320.onnx", {}),
    "silero": ("silero_vad_16k_op15.onnx", {}),
}
_BARS = {"resnet20": "> 3", "ultraface": ">= 0", "silero": ">= 0"}


def run(size: str, seeds: int) -> Results:
    """Compress each model once by rate, and write its tensors with and without the codec."""
    shared = shared_folder()
    rows: list[Row] = []
    headlines: dict[str, Headline] = {}
    for name, (file, settings) in _MODELS.items() if shared is not None else ():
        assert shared is not None
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "whole.qac"
            compress(shared / "ckpt" / file, output=path, sharing="rate", codec="no-mixing", **settings)
            files = {key: _written(path, Path(folder), coding) for key, coding in _CODINGS.items()}
        times = in_turns({key: _reader(data) for key, data in files.items()}, _ROUNDS)
        found = {key: {"bytes": len(data), "cpu_seconds": times[key]} for key, data in files.items()}
        rows.append(Row(f"mixing_{name}", name, {"file": file, **settings}, found))
        saved = 100 * (1 - len(files["mixing"]) / len(files["without"]))
        note = f"fewer bytes of all tensors: {len(files['mixing']):,} instead of {len(files['without']):,}"
        headlines[f"mixing_saves_{name}"] = Headline(saved, "%", _BARS[name], note)
        ratios = [one / two for one, two in zip(times["mixing"], times["without"], strict=True)]
        note = f"CPU time of reading in C, with the codec beside without; {1e3 * median(times['mixing']):.0f} ms"
        headlines[f"mixing_slower_{name}"] = Headline(median(ratios), "x", "reported", note, spread(ratios))
    return rows, headlines


_CODINGS = {"mixing": Coding(("with-mixing",)), "without": Coding()}


def _written(path: Path, folder: Path, coding: Coding) -> bytes:
    """Return a file of the tensors of another one, without graph and metadata."""
    with open_file(path) as container:
        told = {name: container.info(name) for name in container.names}
        tensors = {n: container.tensor(n) if info.k is None else container.shared(n) for n, info in told.items()}
        save_file(folder / "tensors.qac", tensors, coding=coding, precision="fp16")
    return (folder / "tensors.qac").read_bytes()


def _reader(data: bytes) -> Callable[[], None]:
    def read() -> None:
        with open_native(data) as container:
            for name in container.names:
                container.tensor(name)

    return read
