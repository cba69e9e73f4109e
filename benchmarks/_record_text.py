"""The row of a text encoder that is compressed without data: beside int8 and NNCodec at equal agreement.

A file agrees as well as another if neither the rank correlation of the sentences' similarities nor the share of equal
nearest neighbours is lower.
"""

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from _minilm import WordPieces, package, write_onnx
from _record_nncodec import nncodec_points
from _sentences import agreement, runs
from numpy.typing import NDArray
from onnx import numpy_helper
from result import Headline, Results, Row

from qacomp.api import compress
from qacomp.exporting.onnx_model import onnx_model
from qacomp.formats import open_file
from qacomp.formats.codecs.zstd import compress as zstd
from qacomp.sweeping.peers import int8_weights

_SIZES = ("16.4MB", "15.7MB", "15MB", "14.3MB")
_QPS = (-32, -30, -28)  # steps of 2⁻⁸ to 2⁻⁷
_BARS = {"int8": 76.0, "nncodec": 88.0}  # percent of the peer's bytes


def text_rows() -> dict[str, Callable[[], Results]]:
    """The row by its name; none where the model's package isn't installed."""
    archive = package()
    return {} if archive is None else {"minilm_no_data": lambda: _row(archive)}


def _row(archive: Path) -> Results:
    with tempfile.TemporaryDirectory() as scratch:
        path, output = Path(scratch) / "minilm.onnx", Path(scratch) / "minilm.qac"
        write_onnx(archive, path)
        model, feeds = onnx.load(path), runs(WordPieces(archive))
        original = _vectors(model, feeds)
        weights = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer if t.data_type == 1}
        rest = sum(a.nbytes // 2 for a in weights.values() if a.ndim < 2)  # vectors in half precision

        def score(decoded: Mapping[str, NDArray[Any]]) -> dict[str, float]:
            changed = onnx.ModelProto()
            changed.CopyFrom(model)
            for tensor in changed.graph.initializer:
                if tensor.name in decoded:
                    tensor.CopyFrom(numpy_helper.from_array(np.asarray(decoded[tensor.name], np.float32), tensor.name))
            return agreement(original, _vectors(changed, feeds))

        matrices = {name: array for name, array in weights.items() if array.ndim == 2}
        int8 = [_int8(matrices, rest, score)]
        points = nncodec_points(matrices, lambda decoded: score(decoded)["nearest"], _QPS)
        ours = []
        for size in _SIZES:
            done = compress(path, output=output, sharing="rate", target_size=size)
            with open_file(output) as container:
                told = agreement(original, _vectors(onnx_model(container), feeds))
            seconds = round(sum(done.seconds.values()))
            ours.append({"bytes": done.container_bytes, "graph_bytes": done.graph_bytes, "seconds": seconds, **told})
    peers = {"int8": int8, "nncodec": [{**p, "bytes": p["bytes"] + rest} for p in points or ()]}
    headlines = {
        f"record_minilm_no_data_{peer}": Headline(
            _part(ours, found),
            "%",
            f"<= {_BARS[peer]:g}",
            f"bytes of the smallest file that agrees as well as {peer}'s",
        )
        for peer, found in peers.items()
    }
    return [
        Row("record_minilm_no_data", "all-MiniLM-L6-v2 without data, 512 sentences", {}, {"ours": ours, **peers})
    ], headlines


def _vectors(model: onnx.ModelProto, feeds: list[dict[str, NDArray[np.int64]]]) -> NDArray[np.float32]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    return np.concatenate([session.run(None, feed)[0] for feed in feeds])


def _int8(
    matrices: Mapping[str, NDArray[Any]], rest: int, score: Callable[[Mapping[str, NDArray[Any]]], dict[str, float]]
) -> dict[str, Any]:
    """Int8 for each output channel under zstd -19; of a table for each row, of a product's weight for each column."""
    stored, decoded = [], {}
    for name, weights in matrices.items():
        integers, scales = int8_weights(weights, 0 if "embeddings" in name else 1)
        stored += [integers.tobytes(), scales.tobytes()]
        decoded[name] = integers * scales
    return {"bytes": len(zstd(b"".join(stored), 19)) + rest, **score(decoded)}


def _part(ours: list[dict[str, Any]], peers: list[dict[str, Any]]) -> float | None:
    """The least of our bytes in percent of a peer's, over all its files that one of ours agrees as well as."""
    parts = []
    for peer in peers:
        wanted = peer.get("score", peer.get("nearest", 1.0)), peer.get("spearman", 0.0)
        good = [o["bytes"] for o in ours if o["nearest"] >= wanted[0] and o["spearman"] >= wanted[1]]
        parts += [100 * min(good) / peer["bytes"]] if good else []
    return min(parts, default=None)
