"""Decoding against NNCodec on the same weights: sizes and times, an environment of its own for the peer."""

import tempfile
from pathlib import Path
from typing import Any

import networks
import numpy as np
from numpy.typing import NDArray
from result import Headline, Results, Row, in_turns, median, shared_folder

from qacomp.formats import Coding, SharedTensor, open_file, save_file
from qacomp.sweeping.nncodec_peer import VARIABLE, nncodec_python, nncodec_runs

_QP = -26  # about the error of K = 16


def nncodec() -> Results:
    """NNCodec on the same weights, in an environment of its own: QACOMP_NNCODEC_PYTHON names its Python."""
    python, folder = nncodec_python(), shared_folder()
    if python is None or folder is None:
        why = "no shared checkpoints" if python else f"{VARIABLE} names no Python that has nncodec"
        note = f"skipped: {why} (see qacomp/sweeping/nncodec_peer.py)"
        return [], {"decode_vs_nncodec": Headline(None, "x", ">= 5", note)}
    layer = np.random.default_rng(0).standard_normal((2048, 2048)).astype(np.float32) / 20
    cases = {"layer_4m": {"weight": layer}}
    for name, file in networks.CHECKPOINTS.items():
        tensors = networks.tensors(folder / "ckpt" / file)
        cases[name] = {n: t.astype(np.float32) for n, t in tensors.items() if t.ndim >= 2}
    rows, ratios = [], []
    for name, weights in cases.items():
        results = _against_nncodec(weights)
        rows.append(Row(f"nncodec_{name}", "decode against NNCodec", {"k": 16, "qp": _QP}, results))
        ratios.append((results["smallest"]["ratio"], results["rans"]["ratio"]))
    small = [min(ratio[i] for ratio in ratios[1:]) for i in range(2)]
    note = (
        f"CPU time of one core to open and decode 4 M Gaussian weights, K = 16, NNCodec's of the same at qp {_QP}; of "
    )
    note += "two ResNet-20s and silero (270,000 weights, where calls into numpy take the time) the worst is "
    note += f"{small[0]:.2f}x, with codecs=('rans',) {small[1]:.2f}x; "
    fixed = rows[1].results["bytes with one weight a tensor"]
    note += f"ResNet-20 with one weight a tensor: {fixed['qacomp']:,} bytes, NNCodec {fixed['nncodec']:,}"
    return rows, {"decode_vs_nncodec": Headline(ratios[0][0], "x", ">= 5", note)}


def _against_nncodec(weights: dict[str, NDArray[np.float32]]) -> dict[str, Any]:
    """Sizes and times of NNCodec, and of a container with the smallest codecs and with rANS alone."""
    layers = {name: networks.cluster(array, 16) for name, array in weights.items()}
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "a.qac"
        peer = _nncodec_of(weights)
        results: dict[str, Any] = {"weights": sum(w.size for w in weights.values()), "nncodec": peer}
        for choice, codecs in (("smallest", None), ("rans", ("rans",))):
            report = save_file(path, layers, precision="fp16", coding=Coding(codecs=codecs))
            own = in_turns({"decode": lambda: _read(path)}, 5)["decode"]
            results[choice] = {"bytes": report.container_bytes, "overhead_bytes": report.overhead_bytes}
            results[choice] |= {"decode": own, "ratio": median(peer["decode"]) / median(own)}
        single = {name: np.ones((1,) * array.ndim, np.float32) for name, array in weights.items()}
        theirs = _nncodec_of(single)["bytes"]
        shared = {n: SharedTensor(np.ones(1, np.float32), np.zeros(a.shape, np.uint8)) for n, a in single.items()}
        own_bytes = save_file(path, shared, precision="fp16").container_bytes
        results["bytes with one weight a tensor"] = {"nncodec": theirs, "qacomp": own_bytes}
    return results


def _nncodec_of(weights: dict[str, NDArray[np.float32]]) -> dict[str, Any]:
    """Its bytes, the largest error of a weight, and its times to encode and to decode."""
    (run,) = nncodec_runs(weights, [_QP], repeats=3)
    error = max(float(np.abs(run.decoded[name] - weights[name]).max()) for name in weights)
    return {"bytes": run.bytes, "max_error": error, "encode": list(run.encode), "decode": list(run.decode)}


def _read(path: Path) -> None:
    with open_file(path) as container:
        for name in container.names:
            container.tensor(name)
