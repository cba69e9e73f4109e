"""The row of a text encoder that is compressed without data: beside int8 and NNCodec at equal agreement.

Files agree equally if the rank correlations of the sentences' similarities are equal. The bytes of ours at a peer's
correlation are interpolated between two of our files, since 1 − correlation falls by a power of the bytes. The share of
equal nearest neighbours is shown beside it: it moves by a point from chance.
"""

import math
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

_SIZES = ("18.5MB", "17MB", "15.5MB", "14MB", "12.8MB")
_QPS = (-36, -34, -32)  # steps of 2⁻⁹ to 2⁻⁸
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
        told_of: list[dict[str, float]] = []

        def noted(decoded: Mapping[str, NDArray[Any]]) -> float:
            told_of.append(score(decoded))
            return told_of[-1]["nearest"]

        points = nncodec_points(matrices, noted, _QPS) or []
        ours = []
        for size in _SIZES:
            done = compress(path, output=output, sharing="rate", target_size=size)
            with open_file(output) as container:
                told = agreement(original, _vectors(onnx_model(container), feeds))
            seconds = round(sum(done.seconds.values()))
            ours.append({"bytes": done.container_bytes, "graph_bytes": done.graph_bytes, "seconds": seconds, **told})
    nncodec = [{**p, **told, "bytes": p["bytes"] + rest} for p, told in zip(points, told_of, strict=True)]
    peers = {"int8": int8, "nncodec": nncodec}
    headlines = {
        f"record_minilm_no_data_{peer}": Headline(
            _part(ours, found),
            "%",
            f"<= {_BARS[peer]:g}",
            f"ours over {peer}'s bytes at equal rank correlation, the most over its files {_shown(found)}",
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
    """Our bytes in percent of a peer's at its rank correlation, the most over its files that lie between ours."""
    found = sorted((math.log(1 - file["spearman"]), math.log(file["bytes"])) for file in ours)
    errors, sizes = zip(*found, strict=True)
    parts = []
    for peer in peers:
        error = math.log(1 - peer["spearman"])
        if errors[0] <= error <= errors[-1]:
            parts.append(100 * math.exp(float(np.interp(error, errors, sizes))) / peer["bytes"])
    return max(parts, default=None)


def _shown(files: list[dict[str, Any]]) -> str:
    return ", ".join(f"{f['bytes']:,} ({f['spearman']:.4f}, {100 * f['nearest']:.1f} % of neighbours)" for f in files)
