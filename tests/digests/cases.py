"""Small compressions of every kind, whose bytes must not change while the code moves."""

import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

import qacomp
from qacomp.result import Result

SHARED: dict[str, Any] = {"k": 4, "min_size": 1, "seed": 1}
TRAINED: dict[str, Any] = {**SHARED, "epochs": 1, "tune_epochs": 1, "batch_size": 16, "precision": "fp32"}

NETWORKS: dict[str, dict[str, Any]] = {
    "tuned": {**TRAINED, "epochs": 0},
    "sin": {**TRAINED, "reg": "sin"},
    "cos": {**TRAINED, "reg": "cos", "strength": 0.5, "sharing": "after"},
    "min": {**TRAINED, "reg": "min"},
    "exp": {**TRAINED, "reg": "exp"},
    "sinreq": {**TRAINED, "reg": "sinreq", "quantizer": "dorefa", "bits": 3, "k": None, "tune_epochs": None},
    "wrpn": {**TRAINED, "quantizer": "wrpn", "bits": 3, "k": None, "tune_epochs": None},
    "learned bits": {
        **TRAINED,
        "reg": "sinreq:learn_bits=true",
        "quantizer": "dorefa",
        "k": None,
        "tune_epochs": None,
    },
    "straight-through": {**TRAINED, "sharing": "straight-through:entropy=0.05", "distill": "kd"},
    "levels": {**TRAINED, "levels": (2, 4), "k": None},
    "channel": {**TRAINED, "epochs": 0, "codebook": "channel"},
    "affine4": {**TRAINED, "epochs": 0, "codebook": "affine4", "k": None},
    "magnitude": {**TRAINED, "prune": "magnitude:epochs=1", "epochs": 0},
    "energy": {**TRAINED, "prune": "energy:epochs=3,rate=0.4", "epochs": 0, "tune_epochs": 0},
    "without data": {**SHARED},
}
GRAPHS: dict[str, dict[str, Any]] = {
    "k-means": {**SHARED},
    "many values": {**SHARED, "k": 256},
    "min agreement": {**SHARED, "k": 8, "min_agreement": 0.9},
    "groups": {**SHARED, "codebook": "group:16"},
    "affine8 in blocks": {**SHARED, "codebook": "affine8:16", "k": None},
    "progressive": {**SHARED, "levels": (2, 4, 16), "k": None},
}
TENSORS: dict[str, dict[str, Any]] = {
    "k-means": {**SHARED},
    "exact": {**SHARED, "stored_precision": "exact", "rounding": "nearest"},
    "progressive": {**SHARED, "levels": (4, 16), "k": None},
}


def images() -> dict[str, Any]:
    """Return 48 images of 8 x 8 pixels in three classes: x_train, y_train, x_test, y_test."""
    rng = np.random.default_rng(0)
    y = np.arange(48) % 3
    x = (rng.integers(0, 80, (48, 8, 8)) + 80 * y[:, None, None]).astype(np.uint8)
    return {"x_train": x, "y_train": y, "x_test": x[:8], "y_test": y[:8]}


class Small(nn.Module):
    """A convolution, batch norm and two dense layers; gives three class scores."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3)
        self.bn = nn.BatchNorm2d(8)
        self.fc1 = nn.Linear(288, 12)
        self.fc2 = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 1, 8, 8) -> (N, 3)."""
        hidden = torch.relu(self.bn(self.conv(x))).flatten(1)
        scores: Tensor = self.fc2(torch.relu(self.fc1(hidden)))
        return scores


def small() -> Small:
    """Return the network with weights of a fixed seed."""
    torch.manual_seed(0)
    return Small().eval()


def graph() -> onnx.ModelProto:
    """Return an ONNX model: convolution, scale, matrix product, a constant that is added."""
    rng = np.random.default_rng(1)
    values = {
        "kernel": rng.normal(size=(16, 3, 3, 3)) / 5,
        "bias": rng.normal(size=16) / 5,
        "dense": rng.normal(size=(256, 24)) / 16,
        "grid": np.arange(96).reshape(4, 24),
    }
    tensors = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in values.items()]
    tensors.append(numpy_helper.from_array(np.array([4, 256]), "shape"))
    nodes = [
        helper.make_node("Conv", ["x", "kernel", "bias"], ["c"], strides=[2, 2]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Reshape", ["r", "shape"], ["flat"]),
        helper.make_node("MatMul", ["flat", "dense"], ["m"]),
        helper.make_node("Add", ["m", "grid"], ["y"]),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [4, 3, 9, 9])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [4, 24])
    made = helper.make_graph(nodes, "g", [x], [y], tensors)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def arrays() -> dict[str, Any]:
    """Return bare tensors as of a state dict: two weights, a bias, a counter."""
    rng = np.random.default_rng(2)
    return {
        "a.weight": (rng.normal(size=(40, 24)) / 5).astype(np.float32),
        "a.bias": (rng.normal(size=40) / 5).astype(np.float32),
        "b.weight": (rng.normal(size=(8, 40)) / 6).astype(np.float16),
        "steps": np.array(7),
    }


def _chosen(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if value is not None}


def _scripted(folder: Path) -> Path:
    path = folder / "small.jit"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of tracing itself: such files exist all the same
        torch.jit.trace(small(), torch.zeros(2, 1, 8, 8)).save(str(path))  # type: ignore[no-untyped-call]
    return path


def _pickled(folder: Path) -> Path:
    path = folder / "small.pt"
    torch.manual_seed(0)
    head = nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)
    torch.save(nn.Sequential(*head), path)
    return path


def _files(folder: Path) -> dict[str, Callable[[], Result]]:
    shape: dict[str, Any] = {"input": ("2,1,8,8",), "trust_pickle": True}
    return {
        "TorchScript's weights": lambda: qacomp.compress(_scripted(folder), **SHARED),
        "TorchScript's program": lambda: qacomp.compress(_scripted(folder), **SHARED, **shape),
        "pickled module": lambda: qacomp.compress(
            _pickled(folder), images(), trust_pickle=True, **{**TRAINED, "reg": "exp"}
        ),
    }


def cases(folder: Path) -> dict[str, Callable[[], Result]]:
    """Return a compression by its name; `folder` takes the files that some of them read."""
    network = {f"network, {n}": partial(_network, s) for n, s in NETWORKS.items()}
    onnx_model = {f"ONNX, {n}": partial(_plain, graph, s) for n, s in GRAPHS.items()}
    tensors = {f"tensors, {n}": partial(_plain, arrays, s) for n, s in TENSORS.items()}
    return {**network, **onnx_model, **tensors, **_files(folder)}


def _network(settings: dict[str, Any]) -> Result:
    data: dict[str, Any] = {} if settings is NETWORKS["without data"] else {"data": images()}
    return qacomp.compress(small(), **data, input_shape=(1, 8, 8), **_chosen(settings))


def _plain(make: Callable[[], Any], settings: dict[str, Any]) -> Result:
    return qacomp.compress(make(), **_chosen(settings))
