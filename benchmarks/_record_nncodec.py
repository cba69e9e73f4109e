"""NNCodec's smallest file at a drop, on the same weights: one absolute step for all tensors, trellis quantization on.

Its folding of batch norms isn't used, which makes its files of ResNet-20 some kilobytes smaller.
"""

import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from result import ROOT

STEPS = (-38, -36, -34, -32, -30, -28, -26, -24, -22, -20, -18)  # qp: a step doubles every four
Score = Callable[[Mapping[str, NDArray[Any]]], float]
"""What decoded weights are worth: accuracy in percent."""


def nncodec_points(
    weights: Mapping[str, NDArray[np.float32]], score: Score, steps: Sequence[int] = STEPS
) -> list[dict[str, Any]] | None:
    """Bytes and score at each step, or None where QACOMP_NNCODEC_PYTHON names no Python that has nncodec."""
    python = os.environ.get("QACOMP_NNCODEC_PYTHON")
    if not python:
        return None
    found = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        np.savez(folder / "weights.npz", **dict(weights))
        script = ROOT / "benchmarks" / "nncodec_peer.py"
        for qp in steps:
            command = [python, str(script), str(folder / "weights.npz"), str(qp), "1", str(folder / "decoded.npz")]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            with np.load(folder / "decoded.npz") as arrays:
                decoded = {name: arrays[name] for name in arrays.files}
            found.append(
                {"qp": qp, "bytes": json.loads(done.stdout.splitlines()[-1])["bytes"], "score": score(decoded)}
            )
    return found


def smallest(points: list[dict[str, Any]] | None, least: float) -> int | None:
    """The bytes of the smallest file whose score is at least this, None where there is none."""
    sizes = [p["bytes"] for p in points or () if p["score"] >= least]
    return min(sizes) if sizes else None
