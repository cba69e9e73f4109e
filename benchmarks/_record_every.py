"""Every real checkpoint: `qacomp compress FILE` without options, beside int8 for each channel and zstd -19."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from _trials import WORK, Trials
from result import Headline, Results, Row, shared_folder

from qacomp.api import compress
from qacomp.errors import QacompError
from qacomp.formats import open_file
from qacomp.formats.codecs.zstd import compress as zstd
from qacomp.options.config import CompressConfig
from qacomp.sources.how_to_read import Reading
from qacomp.sources.open_any import open_source
from qacomp.sweeping.peers import int8_weights

_REFUSED = ("distiller_resnet20_channel_pruned_ft.pth.tar",)  # its pickle runs code: no checkpoint without trust
_SUFFIXES = (".pth", ".th", ".tar", ".onnx", ".jit", ".safetensors")


def every_rows() -> dict[str, Callable[[], Results]]:
    """The row by its name."""
    return {"every_checkpoint": _row}


def _row() -> Results:
    folder = shared_folder()
    assert folder is not None
    trials = Trials("every-checkpoint")
    found = {
        path.name: trials.get(path.name, lambda path=path: _compressed(path))  # type: ignore[misc]
        for path in sorted((folder / "ckpt").iterdir())
        if path.suffix in _SUFFIXES and path.name not in _REFUSED
    }
    good = [name for name, f in found.items() if f.get("verdict") == "good"]
    smaller = [name for name, f in found.items() if "bytes" in f and f["bytes"] < f["int8_bytes"]]
    share = max((f["bytes"] / f["int8_bytes"] for f in found.values() if "bytes" in f), default=None)
    note = f"{len(found)} checkpoints; not good: {sorted(set(found) - set(good))}"
    row = Row("record_every_checkpoint", "every real checkpoint, no options", {}, found)
    return [row], {
        "record_every_checkpoint_good": Headline(len(good), "files", f">= {len(found)}", note),
        "record_every_checkpoint_smaller": Headline(
            len(smaller), "files", f">= {len(found)}", f"than int8 + zstd -19; the largest part is {share or 0:.2f}"
        ),
    }


def _compressed(path: Path) -> dict[str, Any]:
    """Compress without options; return the figures, or the error. int8_bytes count all other tensors and the graph."""
    WORK.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        output = Path(scratch) / "model.qac"
        try:
            done = compress(path, output=output)
        except QacompError as error:
            return {"error": str(error)}
        with open_file(output) as container:
            graph = len(zstd(container.graph() or b"", 19))
        peer = _int8_bytes(path) + graph
    return {
        "bytes": done.container_bytes,
        "int8_bytes": peer,
        "verdict": done.verdict.word,
        "missed": done.missed,
        "seconds": round(sum(done.seconds.values())),
    }


def _int8_bytes(path: Path) -> int:
    """Int8 for each channel of what has two axes or more, the rest in half precision, under zstd -19."""
    source, _, _ = open_source(path, None, CompressConfig(), Reading(False), lambda text: None)
    stored = []
    for weight in source.weights():
        values = np.asarray(weight.read())
        if values.ndim > 1 and values.dtype.kind == "f":
            integers, scales = int8_weights(values.astype(np.float32), 0)
            stored += [integers.tobytes(), scales.tobytes()]
        else:
            stored.append((values.astype(np.float16) if values.dtype.kind == "f" else values).tobytes())
    return len(zstd(b"".join(stored), 19))
