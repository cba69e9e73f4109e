"""Run NNCodec (ISO/IEC 15938-17) on some weights, in a process of its own: it writes files and prints where it stands.

QACOMP_NNCODEC_PYTHON names the Python that has the package nncodec; without it, this one is used if it has it.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qacomp.errors import QacompError
from qacomp.plain_text import printable

VARIABLE = "QACOMP_NNCODEC_PYTHON"
_SECONDS = 3600


class PeerError(QacompError):
    """Another codec, which a sweep is held against, fails."""


@dataclass(frozen=True)
class NNCodecRun:
    """One coding of all weights. decoded: float32, by name; encode, decode: CPU seconds of each repetition."""

    qp: int
    bytes: int
    decoded: Mapping[str, NDArray[np.float32]]
    encode: tuple[float, ...]
    decode: tuple[float, ...]


def nncodec_python() -> str | None:
    """Return the Python that runs NNCodec, or None where there is none; nncodec isn't imported for that."""
    named = os.environ.get(VARIABLE)
    if named:
        return named
    return sys.executable if find_spec("nncodec") is not None else None


def nncodec_runs(weights: Mapping[str, NDArray[np.float32]], qps: Sequence[int], repeats: int = 1) -> list[NNCodecRun]:
    """Code the weights once with each quantization parameter, `repeats` times each. Raise PeerError.

    The step is the same for all tensors of two or more axes, and fixed for all others (`OPTIONS` of the script).
    """
    python = nncodec_python()
    if python is None:
        raise PeerError(f"NNCodec isn't installed; install the package nncodec, or name its Python in {VARIABLE}")
    with tempfile.TemporaryDirectory(prefix="qacomp-") as folder:
        # numbers for names, as NNCodec stores names raw
        np.savez(Path(folder, "weights.npz"), **{str(i): w for i, w in enumerate(weights.values())})  # type: ignore[arg-type]
        _run([python, "-P", str(Path(__file__).with_name("nncodec_process.py")), str(repeats), *map(str, qps)], folder)
        runs = json.loads(Path(folder, "runs.json").read_text(encoding="utf-8"))
        found = []
        for qp in qps:
            with np.load(Path(folder, f"{qp}.npz")) as arrays:
                decoded = {name: arrays[str(i)] for i, name in enumerate(weights)}
            run = runs[str(qp)]
            found.append(NNCodecRun(qp, int(run["bytes"]), decoded, tuple(run["encode"]), tuple(run["decode"])))
    return found


def _run(command: list[str], folder: str) -> None:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise PeerError(f"NNCodec took more than {_SECONDS} seconds") from error
    except OSError as error:
        raise PeerError(f"{VARIABLE} names {printable(command[0], 200)}, which fails: {error.strerror}") from error
    if done.returncode:
        line = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise PeerError(f"NNCodec is installed and fails: {printable(line, 200)}")
