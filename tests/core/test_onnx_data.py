"""ONNX models on a user's data: what is fed, which metric is taken, and the same again from the decoded file."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from qacomp.api import compress
from qacomp.datasets import load_dataset
from qacomp.errors import ConfigError, DataError
from qacomp.evaluation.metrics import evaluate
from qacomp.exporting.decode import decode_file
from qacomp.exporting.decoded_measuring import measure_decoded
from qacomp.options.config import CompressConfig
from qacomp.result import Result
from qacomp.runtime.agreement import compare
from qacomp.runtime.output_agreement import cosine

RNG = np.random.default_rng(0)


def linear(folder: Path, weight: NDArray[Any], shape: list[Any], second: list[Any] | None = None) -> Path:
    """y = flatten(x) · weight (+ flatten(z) · weight): a regressor or classifier in ONNX."""
    nodes = [
        helper.make_node("Flatten", ["x"], ["f"]),
        helper.make_node("MatMul", ["f", "w"], ["y" if not second else "a"]),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]
    if second:
        inputs.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, second))
        nodes += [helper.make_node("MatMul", ["z", "w"], ["b"]), helper.make_node("Add", ["a", "b"], ["y"])]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "g", inputs, [output], [numpy_helper.from_array(weight, "w")])
    path = folder / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Least squares on the digits' training part: (N, 1, 28, 28) -> 10 scores."""
    train = load_dataset("digits").train
    x = train.x.reshape(len(train), -1).astype(np.float64) / 255
    scores = np.eye(10)[train.y]
    weight = np.linalg.solve(x.T @ x + 5 * np.eye(x.shape[1]), x.T @ scores)
    shape = ["batch", 1, *train.x.shape[1:3]]
    return linear(tmp_path_factory.mktemp("digits"), weight.astype(np.float32), shape)


def packed(path: Path, folder: Path, data: Any, **settings: Any) -> Result:
    return compress(path, data, {"k": 16, **settings}, folder / "m.qac")


def test_a_classifier_has_its_accuracy_before_and_after(classifier: Path, tmp_path: Path) -> None:
    result = packed(classifier, tmp_path, "digits")
    assert result.metric is not None and result.metric.name == "accuracy"
    assert result.accuracy.original is not None and result.accuracy.original > 85
    assert result.accuracy.decoded is not None and abs(result.accuracy.original - result.accuracy.decoded) < 3
    assert result.agreement is not None and result.agreement.top1 is not None and result.agreement.top1 > 90
    assert result.agreement.inputs == "digits"
    done = measure_decoded(decode_file(tmp_path / "m.qac", tmp_path / "back.onnx"))
    assert done.accuracy == result.accuracy.decoded
    assert done.agreement is not None and done.agreement["cosine"] == result.agreement.cosine
    assert measure_decoded(decode_file(tmp_path / "m.qac", tmp_path / "back.onnx"), "digits").accuracy == done.accuracy


def test_a_regressor_has_a_squared_error_or_a_cosine(tmp_path: Path) -> None:
    weight = RNG.standard_normal((24, 16)).astype(np.float32)
    path = linear(tmp_path, weight, ["n", 24])
    x = RNG.standard_normal((50, 24)).astype(np.float32)
    arrays = {"x": x, "y": x @ weight}
    result = packed(path, tmp_path, arrays)
    assert result.metric is not None and result.metric.name == "mse"
    assert result.metric.original < 1e-8 < result.metric.decoded < 1 and result.metric.samples == 50
    assert result.accuracy.original is None
    np.savez(tmp_path / "d.npz", x=x, y=x @ weight)
    near = packed(path, tmp_path, f"npz:{tmp_path / 'd.npz'}", metric="cosine")
    assert near.metric is not None and near.metric.original > near.metric.decoded > 0.98
    done = measure_decoded(decode_file(tmp_path / "m.qac", tmp_path / "back.onnx"))
    assert done.metric is None and any("d.npz" in note and "give --data" in note for note in done.notes)
    done = measure_decoded(decode_file(tmp_path / "m.qac", tmp_path / "back.onnx"), f"npz:{tmp_path / 'd.npz'}")
    assert done.metric == {"name": "cosine", "value": pytest.approx(near.metric.decoded)}


def test_arrays_by_input_name_in_batches_single_runs_and_without_targets(tmp_path: Path) -> None:
    weight = RNG.standard_normal((24, 16)).astype(np.float32)
    two = linear(tmp_path, weight, [4, 24], [4, 24])
    x = RNG.standard_normal((10, 24))
    result = packed(two, tmp_path, {"x": x, "z": x})
    assert result.agreement is not None and result.agreement.runs == 2 and result.metric is None
    stacked = packed(two, tmp_path, {"x": np.stack([x[:4]] * 3), "z": np.stack([x[:4]] * 3)})
    assert stacked.agreement is not None and stacked.agreement.runs == 3
    for arrays in ({"x": x}, {"x": x, "z": x[:9]}, {"x": x[:2], "z": x[:2]}, {"x": np.stack([x] * 2), "z": x[:2]}):
        with pytest.raises(DataError):
            packed(two, tmp_path, arrays)


def test_the_users_own_data_and_metric(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weight = RNG.standard_normal((24, 16)).astype(np.float32)
    path = linear(tmp_path, weight, ["n", 24])
    (tmp_path / "own_metric.py").write_text(
        "import numpy as np\n"
        "def data():\n    return {'x': np.ones((6, 24), np.float32), 'y': np.zeros((6, 16))}\n"
        "def largest(outputs, targets):\n    return abs(outputs - targets).max()\n"
        "def broken(outputs, targets):\n    raise RuntimeError('no')\n"
    )
    monkeypatch.chdir(tmp_path)
    result = packed(path, tmp_path, "own_metric:data", metric="own_metric:largest")
    assert result.metric is not None and result.metric.name == "own_metric:largest"
    assert result.metric.original == pytest.approx(float(np.abs(weight.sum(axis=0)).max()), rel=1e-5)
    for metric in ("own_metric:broken", "own_metric:absent", "no_such_module:f"):
        with pytest.raises(DataError):
            packed(path, tmp_path, "own_metric:data", metric=metric)
    sys.modules.pop("own_metric")
    with pytest.raises(ConfigError, match="metric"):
        CompressConfig(metric="best").check()


def test_agreement_tells_how_outputs_differ() -> None:
    a = np.array([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]])
    b = np.array([[1.0, 2.0, 3.5], [1.0, 2.0, 3.0]])
    found = compare([{"y": a, "s": np.array(["x"])}], [{"y": b, "s": np.array(["x"])}], "two rows")
    assert found.top1 == 50 and found.max_abs_error == 2
    expected = float((a * b).sum() / np.linalg.norm(a) / np.linalg.norm(b))
    assert found.cosine == pytest.approx(expected)
    assert cosine(np.zeros(3), np.zeros(3)) == 1 and cosine(np.zeros(3), np.ones(3)) == 0
    assert cosine(np.full(3, 1e300), np.full(3, 1e300)) == 1
    lost = compare([{"y": np.array([1.0, np.inf])}], [{"y": np.array([1.0, 2.0])}], "")
    assert lost.outputs[0].not_finite == 1 and lost.max_abs_error == 0


def test_metrics_against_their_definitions() -> None:
    outputs, targets = RNG.standard_normal((7, 3)), RNG.standard_normal((7, 3))
    assert evaluate("mse", outputs, targets) == pytest.approx(float(((outputs - targets) ** 2).mean()))
    assert evaluate("accuracy", outputs, outputs.argmax(axis=1)) == 100
    with pytest.raises(DataError, match="don't fit"):
        evaluate("mse", outputs, targets[:3])
