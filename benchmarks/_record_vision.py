"""The row of a vision model in ONNX whose batch norms were folded away, compressed without data, beside NNCodec.

The network is ResNet-20; PyTorch's exporter folds its batch norms into the convolutions. A file of ours is as good as
one of NNCodec's if its accuracy on the test split isn't lower.
"""

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from _record_nncodec import nncodec_points
from _trials import data_spec
from numpy.typing import NDArray
from onnx import numpy_helper
from result import Headline, Results, Row, shared_folder

from qacomp.api import compress
from qacomp.checkpoints import read_checkpoint
from qacomp.datasets import load_dataset
from qacomp.evaluation.accuracy import onnx_logits, topk_accuracy
from qacomp.exporting.onnx_model import onnx_model
from qacomp.formats import open_file
from qacomp.options.config import CompressConfig
from qacomp.sources.network import build_network

_SIZES = ("96KB", "88KB", "80KB", "72KB", "64KB", "56KB")
_QPS = (-32, -30, -28, -26, -24, -22)
_BAR = 80.0  # percent of NNCodec's bytes


def vision_rows() -> dict[str, Callable[[], Results]]:
    """The row by its name."""
    return {"resnet20_folded_no_data": _row}


def _row() -> Results:
    folder, spec = shared_folder(), data_spec("cifar10j")
    assert folder is not None and spec is not None
    network = build_network(read_checkpoint(folder / "ckpt" / "resnet20_cifar10j.pth"), CompressConfig(arch="resnet20"))
    assert network is not None
    test = load_dataset(spec).test
    x = network.preprocessing.apply(test.x)
    with tempfile.TemporaryDirectory() as scratch:
        path, output = Path(scratch) / "folded.onnx", Path(scratch) / "folded.qac"
        _export(network.model, path)
        model = onnx.load(path)
        original = topk_accuracy(onnx_logits(path.read_bytes(), x), test.y, 1)
        weights = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer if t.data_type == 1}
        matrices = {name: array for name, array in weights.items() if array.ndim > 1}
        rest = sum(array.nbytes // 2 for name, array in weights.items() if name not in matrices)  # in half precision

        def score(decoded: Mapping[str, NDArray[Any]]) -> float:
            changed = onnx.ModelProto()
            changed.CopyFrom(model)
            for tensor in changed.graph.initializer:
                if tensor.name in decoded:
                    tensor.CopyFrom(numpy_helper.from_array(np.asarray(decoded[tensor.name], np.float32), tensor.name))
            return topk_accuracy(onnx_logits(changed.SerializeToString(), x), test.y, 1)

        peers = nncodec_points(matrices, score, _QPS)
        ours = []
        for size in _SIZES:
            done = compress(path, output=output, sharing="rate", target_size=size)
            with open_file(output) as container:
                accuracy = topk_accuracy(onnx_logits(onnx_model(container).SerializeToString(), x), test.y, 1)
            seconds = round(sum(done.seconds.values()))
            ours.append(
                {"bytes": done.container_bytes, "graph_bytes": done.graph_bytes, "score": accuracy, "seconds": seconds}
            )
    found = None if peers is None else [{**p, "bytes": p["bytes"] + rest} for p in peers]
    part = _part(ours, found or [])
    note = f"original {original:.2f} %; our graph counted, none of NNCodec's; the least over NNCodec's files"
    row = Row(
        "record_resnet20_folded_no_data",
        "ResNet-20 with its batch norms folded, ONNX, no data",
        {"data": "cifar10j"},
        {"original": original, "ours": ours, "nncodec": found},
    )
    return [row], {"record_resnet20_folded_no_data_percent": Headline(part, "%", f"<= {_BAR:g}", note)}


def _export(model: torch.nn.Module, path: Path) -> None:
    example = torch.zeros(1, 3, 32, 32)
    axes = {"image": {0: "batch"}, "logits": {0: "batch"}}
    names: dict[str, Any] = {"input_names": ["image"], "output_names": ["logits"], "dynamic_axes": axes}
    torch.onnx.export(model.eval(), (example,), str(path), opset_version=17, dynamo=False, **names)


def _part(ours: list[dict[str, Any]], peers: list[dict[str, Any]]) -> float | None:
    """The least of our bytes in percent of a peer's, over the peer's files of which one of ours is as good."""
    parts = []
    for peer in peers:
        good = [o["bytes"] for o in ours if o["score"] >= peer["score"]]
        parts += [100 * min(good) / peer["bytes"]] if good else []
    return min(parts, default=None)
