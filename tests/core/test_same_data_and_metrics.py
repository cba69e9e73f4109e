"""`compress`, `decode` and `eval` take the same data, targets and metrics, and say the same of the same model."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from onnx import helper, numpy_helper

import qacomp
from qacomp.cli.main import cli
from qacomp.errors import DataError, MetricError, QacompError
from qacomp.evaluate import measure_file
from qacomp.evaluation.metrics import as_objects, chosen_metric, evaluate, first_outputs
from qacomp.exporting.decode import decode_file
from qacomp.exporting.decoded_measuring import measure_decoded
from qacomp.options.config import CompressConfig

rng = np.random.default_rng(0)
IMAGES = rng.standard_normal((20, 3, 16, 16)).astype(np.float32)
PIXELS = (IMAGES.sum(1) > 0).astype(np.int64)
RAGGED = [np.zeros((i % 4, 4)) for i in range(20)]


def segmenter() -> onnx.ModelProto:
    """(N, 3, H, W) -> scores (N, 2, H, W)."""
    shapes = {"w": (16, 3, 3, 3), "v": (2, 16, 1, 1)}
    weights = [numpy_helper.from_array(rng.normal(0, 0.1, s).astype(np.float32), n) for n, s in shapes.items()]
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]), helper.make_node("Relu", ["c"], ["r"])]
    nodes.append(helper.make_node("Conv", ["r", "v"], ["y"]))
    ends = [helper.make_tensor_value_info(n, 1, ["N", c, "H", "W"]) for n, c in (("x", 3), ("y", 2))]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def two_inputs() -> onnx.ModelProto:
    """a (N, 8), b (N, 8) -> (a + b) · w (N, 40)."""
    weight = numpy_helper.from_array(rng.standard_normal((8, 40)).astype(np.float32), "w")
    nodes = [helper.make_node("Add", ["a", "b"], ["s"]), helper.make_node("MatMul", ["s", "w"], ["y"])]
    inputs = [helper.make_tensor_value_info(name, 1, ["N", 8]) for name in "ab"]
    graph = helper.make_graph(nodes, "g", inputs, [helper.make_tensor_value_info("y", 1, ["N", 40])], [weight])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def counted(outputs: NDArray[Any], targets: NDArray[Any]) -> float:
    """Of a user: how many boxes there are in all, and outputs."""
    return float(len(outputs) + sum(len(boxes) for boxes in targets))


@pytest.fixture
def mine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user's module `mine`."""
    module: Any = ModuleType("mine")
    module.__spec__ = pytest.__spec__
    module.seg = lambda: {"x": IMAGES, "y": PIXELS}
    module.det = lambda: {"x": IMAGES, "y": RAGGED}
    both = rng.standard_normal((2, 30, 8)).astype(np.float32)
    module.pair = lambda: {"a": both[0], "b": both[1], "y": np.arange(30) % 40}
    module.short = lambda: {"x": IMAGES, "y": PIXELS[:7]}
    module.images_of_two_sizes = lambda: {"x": [IMAGES[0], IMAGES[1][:, :5]], "y": [0, 1]}
    module.counted = counted
    module.failing = lambda outputs, targets: outputs[0] @ targets
    monkeypatch.setitem(sys.modules, "mine", module)


@pytest.mark.parametrize(
    ("model", "data", "metric", "named"),
    [
        (segmenter, "mine:seg", "auto", "accuracy"),
        (segmenter, "mine:seg", "accuracy", "accuracy"),
        (segmenter, "mine:det", "mine:counted", "mine:counted"),
        (two_inputs, "mine:pair", "auto", "accuracy"),
    ],
)
@pytest.mark.usefixtures("mine")
def test_compress_decode_and_eval_say_the_same(model: Any, data: str, metric: str, named: str, tmp_path: Path) -> None:
    source, container, output = (tmp_path / name for name in ("m.onnx", "m.qac", "d.onnx"))
    onnx.save(model(), source)
    done = qacomp.compress(source, data, output=container, k=4, metric=metric)
    assert done.metric is not None and done.metric.name == named
    config = CompressConfig(data=data, metric=metric)
    before, after = measure_file(source, config), measure_file(container, config)
    assert before.metric == {"name": named, "value": done.metric.original}
    assert after.metric == {"name": named, "value": done.metric.decoded}
    assert before.samples == done.metric.samples and before.latency is not None
    decoded = measure_decoded(decode_file(container, output), data)
    assert decoded.metric == after.metric if ":" not in metric else decoded.metric is None
    assert measure_file(output, config).metric == after.metric


@pytest.mark.usefixtures("mine")
def test_targets_of_different_lengths_need_ones_own_metric(tmp_path: Path) -> None:
    source = tmp_path / "m.onnx"
    onnx.save(segmenter(), source)
    done = qacomp.compress(source, "mine:det", output=tmp_path / "m.qac", k=4)
    assert done.agreement is not None and done.metric is None
    assert any("object[20] differ in shape" in note and "--metric module:function" in note for note in done.notes)
    for metric in ("accuracy", "mse"):
        with pytest.raises(MetricError, match=rf"{metric}: the targets object\[20\] differ in shape"):
            qacomp.compress(source, "mine:det", output=tmp_path / "n.qac", k=4, metric=metric)
    assert not (tmp_path / "n.qac").exists()
    shown = CliRunner().invoke(cli, ["eval", str(source), "--data", "mine:det", "--metric", "mine:counted"])
    assert shown.exit_code == 0 and "mine:counted" in shown.output and str(20 + sum(map(len, RAGGED))) in shown.output


@pytest.mark.usefixtures("mine")
@pytest.mark.parametrize(
    ("data", "metric", "told"),
    [
        ("mine:short", "auto", r"20 samples, but targets int64\[7, 16, 16\]"),
        ("mine:images_of_two_sizes", "auto", "x holds arrays of different shapes"),
        (
            "mine:seg",
            "mine:failing",
            r"mine:failing failed on outputs float32\[20, 2, 16, 16\] and targets int64",
        ),
        ("mine:seg", "mse", r"outputs float32\[20, 2, 16, 16\] and targets int64\[20, 16, 16\] don't fit"),
    ],
)
def test_what_does_not_fit_is_told_by_shapes(data: str, metric: str, told: str, tmp_path: Path) -> None:
    source = tmp_path / "m.onnx"
    onnx.save(segmenter(), source)
    with pytest.raises(DataError, match=told):
        qacomp.compress(source, data, output=tmp_path / "m.qac", k=4, metric=metric)
    with pytest.raises(QacompError, match=told):
        measure_file(source, CompressConfig(data=data, metric=metric))


def test_accuracy_counts_positions_wherever_the_classes_stand() -> None:
    labels = rng.integers(0, 5, (3, 4, 6))
    scores = np.eye(5, dtype=np.float32)[labels]  # (3, 4, 6, 5)
    assert evaluate("accuracy", np.moveaxis(scores, -1, 1), labels) == 100
    assert evaluate("accuracy", scores, labels) == 100
    assert evaluate("accuracy", scores[:, 0], labels[:, 0]) == 100  # tokens: (N, T, classes)
    assert evaluate("accuracy", scores[:, 0, 0], labels[:, 0, :1]) == 100
    wrong = labels.copy()
    wrong[0, 0, 0] = (wrong[0, 0, 0] + 1) % 5
    assert evaluate("accuracy", scores, wrong) == pytest.approx(100 * 71 / 72)
    assert chosen_metric("auto", scores, labels) == "accuracy"
    assert chosen_metric("auto", scores, labels.astype(float)) == "mse"


def test_a_row_with_nan_is_wrong() -> None:
    scores = np.array([[0, np.nan], [np.nan, np.nan], [1, 0]], np.float32)
    assert evaluate("accuracy", scores, np.array([0, 1, 0])) == pytest.approx(100 / 3)


def test_outputs_of_other_shapes_from_run_to_run_stay_apart() -> None:
    runs: list[Any] = [{"y": np.zeros((1, n, 4), np.float32)} for n in (2, 3)]
    found = first_outputs(runs)
    assert found.dtype == object and [value.shape for value in found] == [(2, 4), (3, 4)]
    assert evaluate_with(found, as_objects([1, 2])) == 2
    with pytest.raises(MetricError, match=r"the outputs object\[2\] differ in shape"):
        evaluate("mse", found, np.zeros(2))


def evaluate_with(outputs: NDArray[Any], targets: NDArray[Any]) -> int:
    return len(outputs) if len(outputs) == len(targets) else 0
