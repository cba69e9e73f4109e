"""Accuracy, latency and parity against independent references, and what happens to bad input."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from sklearn.metrics import top_k_accuracy_score
from torch import nn

from qacomp.errors import ConfigError, DataError, ExportError, NonFiniteWeightsError, NotACheckpointError, QacompError
from qacomp.evaluation.accuracy import onnx_accuracy, onnx_logits, topk_accuracy, torch_accuracy, torch_logits
from qacomp.evaluation.parity import max_abs_error, optimization_error
from qacomp.runtime.comparison import largest_difference
from qacomp.runtime.latency import onnx_latency
from qacomp.runtime.session import open_session


def dense_layer(weight: np.ndarray, input_shape: tuple[int, ...] = ()) -> onnx.ModelProto:
    """logits = flatten(input) @ weight."""
    graph = helper.make_graph(
        [helper.make_node("Flatten", ["input"], ["flat"]), helper.make_node("MatMul", ["flat", "weight"], ["logits"])],
        "g",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", *(input_shape or weight.shape[:1])])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", weight.shape[1]])],
        [numpy_helper.from_array(weight, "weight")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


@pytest.mark.parametrize("k", [1, 2, 5])
def test_topk_agrees_with_scikit_learn(k: int) -> None:
    rng = np.random.default_rng(k)
    logits = rng.standard_normal((200, 7)).astype(np.float32)
    y = rng.integers(0, 7, 200)
    expected = 100 * top_k_accuracy_score(y, logits, k=k, labels=np.arange(7))
    assert topk_accuracy(logits, y, k) == pytest.approx(expected)


def test_equal_logits_are_no_gift() -> None:
    """A network that gives the same logit for all classes is right as often as class 0 occurs."""
    logits = np.zeros((10, 5), np.float32)
    assert topk_accuracy(logits, np.arange(10) % 5) == 20.0
    assert topk_accuracy(logits, np.arange(10) % 5, 2) == 40.0
    assert topk_accuracy(logits, np.arange(10) % 5, 5) == 100.0


def test_onnx_and_torch_count_the_same(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((12, 4)).astype(np.float32)
    x = rng.standard_normal((33, 3, 2, 2)).astype(np.float32)
    y = rng.integers(0, 4, 33)
    proto = dense_layer(weight, (3, 2, 2))
    path = tmp_path / "m.onnx"
    onnx.save(proto, path)
    expected = 100 * float(np.mean((x.reshape(33, 12) @ weight).argmax(1) == y))
    assert 0 < expected < 100
    for model in (proto, path, str(path), path.read_bytes()):
        assert onnx_accuracy(model, x, y, batch_size=10) == pytest.approx(expected)
    layer = nn.Linear(12, 4, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight.T))
    network = nn.Sequential(nn.Flatten(), layer).train()
    assert torch_accuracy(network, x, y, batch_size=10) == pytest.approx(expected)
    assert torch_accuracy(network, torch.from_numpy(x), torch.from_numpy(y), device="cpu") == pytest.approx(expected)
    assert network.training and layer.training
    assert max_abs_error(network, proto, x) < 1e-5
    assert optimization_error(proto, x) < 1e-5


def test_training_modes_are_restored_one_by_one() -> None:
    network = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.9), nn.BatchNorm1d(4)).train()
    network[2].eval()
    x = np.ones((3, 4), np.float32)
    assert np.array_equal(torch_logits(network, x), torch_logits(network, x))  # no dropout
    assert [m.training for m in network] == [True, True, False]


class _Viewing(nn.Module):
    """Its view() can't take a channels-last map."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.fc = nn.Linear(8 * 36, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.fc(self.conv(x).view(x.size(0), -1))
        return y


def test_memory_layout_changes_no_result() -> None:
    torch.manual_seed(0)
    network = _Viewing().eval()
    x = torch.randn(9, 3, 8, 8)
    with torch.inference_mode():
        expected = network(x).numpy()
    np.testing.assert_allclose(torch_logits(network, x, batch_size=4), expected, rtol=1e-4, atol=1e-5)
    assert network.conv.weight.is_contiguous()


def test_progress_counts_examples() -> None:
    seen: list[tuple[int, int]] = []
    x = np.zeros((7, 4), np.float32)
    onnx_logits(dense_layer(np.eye(4, dtype=np.float32)), x, 3, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(3, 7), (6, 7), (7, 7)]
    torch_logits(nn.Linear(4, 2), x, batch_size=4, progress=lambda done, total: seen.append((done, total)))
    assert seen[3:] == [(4, 7), (7, 7)]


def test_non_finite_logits_are_an_error() -> None:
    weight = np.eye(4, dtype=np.float32)
    weight[2, 2] = np.nan
    x = np.ones((5, 4), np.float32)
    with pytest.raises(NonFiniteWeightsError, match="check its weights"):
        onnx_logits(dense_layer(weight), x)
    network = nn.Linear(4, 4)
    with torch.no_grad():
        network.weight[0, 0] = float("inf")
    with pytest.raises(NonFiniteWeightsError, match="check its weights"):
        torch_logits(network, x)


@pytest.mark.parametrize(
    ("x", "y", "options", "error", "message"),
    [
        (np.zeros((3, 5), np.float32), [0, 1, 2], {}, DataError, "the model takes"),
        (np.zeros((3, 4), np.float32), [0, 1], {}, DataError, "don't fit"),
        (np.zeros((3, 4), np.float32), [0, 1, 4], {}, DataError, "label 4 is out of range"),
        (np.zeros((3, 4), np.float32), [0, -1, 2], {}, DataError, "label -1 is out of range"),
        (np.zeros((3, 4), np.float32), [0.0, 1.0, 2.0], {}, DataError, "must be integers"),
        (np.zeros((0, 4), np.float32), [], {}, DataError, "no examples"),
        (np.zeros((3, 4), np.float32), [0, 1, 2], {"batch_size": 0}, ConfigError, "at least 1"),
        (np.zeros((3, 4), np.float32), [0, 1, 2], {"k": 0}, ConfigError, "at least 1"),
    ],
)
def test_bad_data_is_named(
    x: np.ndarray, y: list[int], options: dict[str, int], error: type[QacompError], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        onnx_accuracy(dense_layer(np.eye(4, dtype=np.float32)), x, np.array(y), **options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ([1.0, np.nan, np.inf], [1.5, np.nan, np.inf], 0.5),
        ([1.0, np.nan], [1.0, 1.0], np.inf),
        ([np.inf], [-np.inf], np.inf),
        ([0.0], [-0.0], 0.0),
        ([], [], 0.0),
        (["a"], ["a"], 0.0),
        (["a"], ["b"], np.inf),
    ],
)
def test_the_largest_difference(a: list[object], b: list[object], expected: float) -> None:
    assert largest_difference(np.array(a), np.array(b)) == expected


def test_a_session_of_fewer_than_no_threads_is_refused() -> None:
    with pytest.raises(ConfigError, match="positive"):
        open_session(dense_layer(np.eye(4, dtype=np.float32)), threads=-1)


def test_a_network_fed_the_wrong_shape_says_so() -> None:
    with pytest.raises(DataError, match=r"can't run on an input \[2, 5\]"):
        torch_logits(nn.Linear(4, 2), np.zeros((2, 5), np.float32))


@pytest.mark.parametrize(
    "content", [None, b"", b"no model", dense_layer(np.eye(4, dtype=np.float32)).SerializeToString()[:60]]
)
def test_files_that_are_no_models_are_named(
    tmp_path: Path, content: bytes | None, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(NotACheckpointError, match=r"x\.onnx") as caught:
        open_session(path)
    assert "\n" not in str(caught.value)
    if content:
        with pytest.raises(ExportError):
            open_session(content)
    captured = capfd.readouterr()
    assert captured.out == "" and captured.err == ""


def test_latency_reports_what_it_ran() -> None:
    result = onnx_latency(dense_layer(np.eye(4, dtype=np.float32)), (4,), batch_size=3, runs=5, warmup=1, threads=1)
    assert (result.runs, result.batch_size, result.threads) == (5, 3, 1)
    assert 0 < result.p50_ms <= result.p95_ms
    with pytest.raises(ConfigError, match="runs is 0"):
        onnx_latency(dense_layer(np.eye(4, dtype=np.float32)), (4,), runs=0)
    with pytest.raises(DataError, match="the model takes"):
        onnx_latency(dense_layer(np.eye(4, dtype=np.float32)), (3, 32, 32))


def test_parity_of_different_networks_is_refused() -> None:
    with pytest.raises(ExportError, match="the same network"):
        max_abs_error(nn.Linear(4, 3), dense_layer(np.eye(4, dtype=np.float32)), np.zeros((2, 4), np.float32))
