"""NNCodec (ISO/IEC 15938-17) on some weights, in a process of its own: it writes files and prints where it stands."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qacomp.errors import QacompError
from qacomp.plain_text import printable

_SECONDS = 3600


class PeerError(QacompError):
    """Another codec, which a sweep is held against, fails."""


def nncodec_here() -> bool:
    """Return whether NNCodec is installed; it isn't imported for that."""
    return find_spec("nncodec") is not None


def nncodec_sizes(
    weights: Mapping[str, NDArray[np.float32]], qps: Sequence[int]
) -> list[tuple[int, dict[str, NDArray[np.float32]]]]:
    """Return the coded bytes and the decoded weights for each quantization parameter. Raise PeerError."""
    with tempfile.TemporaryDirectory(prefix="qacomp-") as folder:
        np.savez(Path(folder, "weights.npz"), **{str(i): w for i, w in enumerate(weights.values())})  # type: ignore[arg-type]
        command = [sys.executable, "-P", __file__, *map(str, qps)]  # as a script, which needn't import torch
        try:
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_SECONDS, check=False)
        except subprocess.TimeoutExpired as error:
            raise PeerError(f"NNCodec took more than {_SECONDS} seconds") from error
        if done.returncode:
            line = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise PeerError(f"NNCodec is installed and fails: {printable(line, 200)}")
        sizes = json.loads(Path(folder, "sizes.json").read_text(encoding="utf-8"))
        found = []
        for qp in qps:
            with np.load(Path(folder, f"{qp}.npz")) as decoded:
                found.append((int(sizes[str(qp)]), {name: decoded[str(i)] for i, name in enumerate(weights)}))
    return found


def main(arguments: Sequence[str]) -> None:
    """Encode and decode weights.npz of the current folder; write QP.npz for each parameter, and sizes.json."""
    from nncodec.nn import decode, encode

    with np.load("weights.npz") as arrays:
        weights = {name: arrays[name] for name in arrays.files}
    sizes = {}
    for qp in map(int, arguments):
        coded = encode(dict(weights), {"qp": qp, "use_dq": True, "verbose": False, "results": "."})
        sizes[str(qp)] = len(coded)
        np.savez(f"{qp}.npz", **decode(coded))
    Path("sizes.json").write_text(json.dumps(sizes), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
