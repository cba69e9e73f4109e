"""The dense export: same outputs, weights bit-equal under their names, light graphs, deterministic bytes, no noise."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import zstandard
from onnx import numpy_helper
from torch import nn

from qacomp.errors import ExportError
from qacomp.evaluation.accuracy import onnx_logits
from qacomp.evaluation.parity import max_abs_error, optimization_error
from qacomp.graphs.batch_norm import constant_names, fold_statistics
from qacomp.graphs.network import IR_VERSION, OPSET, export_dense
from qacomp.graphs.weightless import attach_weights, initializer_names, strip_weights
from qacomp.models import create_model, model_info
from qacomp.models.weight_places import tied_names


def trained_like(arch: str, seed: int = 0) -> nn.Module:
    """A registered model with reproducible weights and non-trivial batch norms, in eval mode."""
    torch.manual_seed(seed)
    model = create_model(arch)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
    return model.eval()


def weights(proto: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer}


@pytest.fixture(scope="module")
def resnet() -> tuple[nn.Module, onnx.ModelProto]:
    model = trained_like("resnet20")
    fold_statistics(model)
    return model, export_dense(model, (3, 32, 32))


def test_weights_are_bit_equal_under_their_state_dict_names(resnet: tuple[nn.Module, onnx.ModelProto]) -> None:
    model, proto = resnet
    constants = set(constant_names(model))
    state = {name: value.numpy() for name, value in model.state_dict().items() if name not in constants}
    exported = weights(proto)
    assert set(state) <= set(exported)
    for name, value in state.items():
        assert exported[name].dtype == value.dtype and exported[name].tobytes() == value.tobytes(), name


def test_outputs_agree_for_any_batch(resnet: tuple[nn.Module, onnx.ModelProto]) -> None:
    model, proto = resnet
    for n in (1, 7):
        x = np.random.default_rng(n).standard_normal((n, 3, 32, 32)).astype(np.float32)
        assert max_abs_error(model, proto, x) < 1e-4
        assert optimization_error(proto, x) < 1e-4
        assert onnx_logits(proto, x).shape == (n, 10)


def test_the_graph_is_light(resnet: tuple[nn.Module, onnx.ModelProto]) -> None:
    """Layers, and of shape arithmetic nothing; a shortcut is one Slice and one Pad."""
    _, proto = resnet
    ops = [node.op_type for node in proto.graph.node]
    expected = {"Conv": 19, "BatchNormalization": 19, "Relu": 19, "Add": 9, "Slice": 2, "Pad": 2, "Gemm": 1}
    assert {op: ops.count(op) for op in expected} == expected
    assert len(ops) <= sum(expected.values()) + 2  # pooling and reshaping


def test_versions_names_and_nothing_superfluous(resnet: tuple[nn.Module, onnx.ModelProto]) -> None:
    _, proto = resnet
    assert proto.ir_version == IR_VERSION
    assert [(o.domain, o.version) for o in proto.opset_import] == [("", OPSET)]
    (given,), (out,) = proto.graph.input, proto.graph.output
    assert (given.name, out.name) == ("input", "logits")
    assert [d.dim_param or d.dim_value for d in given.type.tensor_type.shape.dim] == ["batch", 3, 32, 32]
    assert [d.dim_param or d.dim_value for d in out.type.tensor_type.shape.dim] == ["batch", 10]
    assert not proto.producer_name and not proto.metadata_props and not proto.graph.value_info
    assert not any(node.doc_string or node.metadata_props for node in proto.graph.node)


def test_the_weightless_graph_is_small(resnet: tuple[nn.Module, onnx.ModelProto]) -> None:
    model, proto = resnet
    names = set(model.state_dict()) - set(constant_names(model))
    graph = strip_weights(proto, names)
    assert len(zstandard.ZstdCompressor(level=19).compress(graph)) <= 1200


def test_statistics_become_one_constant_a_width(resnet: tuple[nn.Module, onnx.ModelProto]) -> None:
    model, proto = resnet
    own = {name: value for name, value in weights(proto).items() if name not in model.state_dict()}
    floats = sorted(
        (value.size, float(value.min()), float(value.max())) for value in own.values() if value.dtype == "f4"
    )
    assert floats == [(size, v, v) for size in (16, 32, 64) for v in (0.0, 1.0)]


def test_shared_layers_keep_their_few_values(resnet: tuple[nn.Module, onnx.ModelProto]) -> None:
    model, proto = resnet
    k = 4
    tensors = {}
    for name, value in model.state_dict().items():
        if name in initializer_names(proto):
            array = value.numpy()
            if array.ndim > 1:
                codebook = np.quantile(array, [0.1, 0.4, 0.6, 0.9]).astype(np.float32)
                array = codebook[np.abs(array[..., None] - codebook).argmin(-1)]
            tensors[name] = array
    dense = attach_weights(strip_weights(proto, tensors), tensors)
    exported = weights(onnx.ModelProto.FromString(dense.SerializeToString()))
    layers = [name for name, value in tensors.items() if value.ndim > 1]
    assert len(layers) == 20
    assert all(len(np.unique(exported[name])) <= k for name in layers)
    shared = create_model("resnet20")
    shared.load_state_dict({n: torch.from_numpy(v) for n, v in tensors.items()}, strict=False)
    for module in shared.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 0.0  # its fresh statistics are 0 and 1 already
    x = np.random.default_rng(0).standard_normal((3, 3, 32, 32)).astype(np.float32)
    assert max_abs_error(shared, dense, x) < 1e-4


def test_bytes_are_the_same_in_another_process() -> None:
    code = (
        "import hashlib, torch\n"
        "from qacomp.models import create_model\n"
        "from qacomp.graphs.network import export_dense\n"
        "torch.manual_seed(3)\n"
        "proto = export_dense(create_model('lenet5'), (1, 28, 28))\n"
        "print(hashlib.sha256(proto.SerializeToString(deterministic=True)).hexdigest())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONHASHSEED": "12345"},
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parent,
    )
    torch.manual_seed(3)
    proto = export_dense(create_model("lenet5"), (1, 28, 28))
    here = hashlib.sha256(proto.SerializeToString(deterministic=True)).hexdigest()
    assert done.stdout == here + "\n"
    assert done.stderr == ""


def test_the_model_is_left_alone_and_the_user_in_peace(capfd: pytest.CaptureFixture[str]) -> None:
    model = create_model("lenet300").train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    proto = export_dense(model, model_info("lenet300").input_shape)
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert set(initializer_names(proto)) >= set(before)
    captured = capfd.readouterr()
    assert captured.out == "" and captured.err == ""


class _Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 6)
        self.second = nn.Linear(6, 6)
        self.second.weight = self.first.weight
        self.unused = nn.Linear(2, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.second(torch.relu(self.first(x)).view(x.size(0), -1))
        return y


def test_tied_parameters_are_stored_once_and_unused_ones_not() -> None:
    model = _Tied().eval()
    proto = export_dense(model, (6,))
    assert tied_names(model) == {"second.weight": "first.weight"}
    assert set(initializer_names(proto)) & set(model.state_dict()) == {"first.weight", "first.bias", "second.bias"}
    assert max_abs_error(model, proto, np.random.default_rng(0).standard_normal((5, 6)).astype(np.float32)) < 1e-5


def test_unfolded_statistics_keep_their_names() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten()).eval()
    for statistic in ("running_mean", "running_var"):
        model[1].get_buffer(statistic).add_(0.5)
    proto = export_dense(model, (1, 5, 5))
    assert {"1.running_mean", "1.running_var"} <= set(initializer_names(proto))
    assert max_abs_error(model, proto, np.random.default_rng(0).standard_normal((5, 1, 5, 5)).astype(np.float32)) < 1e-5


class _Branch(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if x.sum() > 0 else -x


def test_what_cannot_be_exported_gets_one_clear_line(capfd: pytest.CaptureFixture[str]) -> None:
    parametrized = nn.Sequential(nn.Linear(4, 4))
    nn.utils.parametrizations.weight_norm(parametrized[0])
    for model, shape, message in (
        (_Branch(), (4,), "branch on data"),
        (create_model("lenet5"), (3, 32, 32), "check the input shape"),
        (nn.Linear(4, 4).half(), (4,), "model.float()"),
        (parametrized, (4,), "remove_parametrizations"),
    ):
        with pytest.raises(ExportError) as caught:
            export_dense(model, shape)
        assert message in str(caught.value) and "\n" not in str(caught.value)
    captured = capfd.readouterr()
    assert captured.out == "" and captured.err == ""


def test_a_real_checkpoint(shared_dir: Path) -> None:
    model = create_model("resnet20")
    model.load_state_dict(torch.load(shared_dir / "ckpt" / "resnet20_cifar10j.pth", weights_only=True))
    model.eval()
    x = np.random.default_rng(0).standard_normal((8, 3, 32, 32)).astype(np.float32)
    with torch.inference_mode():
        before = model(torch.from_numpy(x)).numpy()
    fold_statistics(model)
    proto = export_dense(model, (3, 32, 32))
    assert np.abs(onnx_logits(proto, x) - before).max() < 1e-3  # logits of about 10
    assert max_abs_error(model, proto, x) < 1e-3
