"""Rows of ONNX models that are compressed without data: speech models beside k-means, with one codebook a tensor.

A file is as good as k-means' if neither the sum of its operators' errors, in dB, nor the cosine of centred outputs is
worse. Smaller and smaller sizes are asked for until that fails.
"""

import math
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from result import Headline, Results, Row, shared_folder

from qacomp.api import compress
from qacomp.result import Result

SPEECH = {
    "silero": "silero_vad_16k_op15.onnx",
    "silero_if": "silero_vad_if.onnx",
    "dtln": "dtln_model_1.onnx",
}
KS = (16, 64)
_PARTS = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7)  # of k-means' bytes
_BAR = 85.0  # percent of k-means' bytes


def speech_rows() -> dict[str, Callable[[], Results]]:
    """The rows by name, each with what makes it."""
    names = {f"{network}_k{k}": (network, k) for network in SPEECH for k in KS}
    return {name: partial(_row, f"record_{name}", *what) for name, what in names.items()}


def errors_db(result: Result) -> float:
    """The sum of the errors of all shared tensors at their operators, in dB."""
    return 10 * math.log10(sum(10 ** (layer.error_db / 10) for layer in result.layers if layer.error_db is not None))


def _figures(result: Result) -> dict[str, Any]:
    agreement = result.agreement
    return {
        "bytes": result.container_bytes,
        "graph_bytes": result.graph_bytes,
        "errors_db": round(errors_db(result), 2),
        "centred": None if agreement is None else agreement.centred,
        "seconds": round(sum(result.seconds.values()), 1),
    }


def _as_good(found: dict[str, Any], peer: dict[str, Any]) -> bool:
    return found["errors_db"] <= peer["errors_db"] and (found["centred"] or 0) >= (peer["centred"] or 0)


def _row(name: str, network: str, k: int) -> Results:
    """K-means, and our files of at most its bytes, down to the smallest one that is as good."""
    folder = shared_folder()
    assert folder is not None
    path = folder / "ckpt" / SPEECH[network]
    with tempfile.TemporaryDirectory() as scratch:
        output = Path(scratch) / "model.qac"
        peer = _figures(compress(path, output=output, sharing="after", k=k))
        ours: list[dict[str, Any]] = []
        for part in _PARTS:
            most = str(int(part * peer["bytes"]))
            ours.append(_figures(compress(path, output=output, sharing="rate", target_size=most)))
            if not _as_good(ours[-1], peer):
                break
    good = [found["bytes"] for found in ours if _as_good(found, peer)]
    part = 100 * min(good) / peer["bytes"] if good else None
    note = (
        f"k-means K = {k}: {peer['bytes']:,} bytes, {peer['errors_db']} dB; ours at its bytes {ours[0]['errors_db']} dB"
    )
    row = Row(name, f"{network} without data, beside K = {k}", {"k": k}, {"k_means": peer, "ours": ours})
    gain = ours[0]["errors_db"] - peer["errors_db"]
    more = None if peer["centred"] is None else ours[0]["centred"] - peer["centred"]
    return [row], {
        f"{name}_percent": Headline(part, "%", f"<= {_BAR:g}", f"{note}; of k-means' bytes, as good in both"),
        f"{name}_error": Headline(gain, "dB", "<= 0", note),
        f"{name}_outputs": Headline(more, "", ">= 0", f"{note}; cosine of centred outputs, ours less k-means'"),
    }
