"""Exact zeros stay exact zeros, in every mode: padding rows, and what a pruning elsewhere has left."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import nn

import qacomp
from qacomp.exporting.decode import decode_file
from qacomp.formats import open_file
from qacomp.sharing.kmeans import kmeans
from qacomp.sharing.nested_arrays import at_level, share_nested
from qacomp.sharing.selection import Layer
from qacomp.sharing.share import share_array

BOOKS = ("tensor", "channel", "group:16", "affine2", "affine4", "affine8", "affine4:32")


def sparse(seed: int, share: float, shape: tuple[int, ...] = (24, 64), size: float = 0.1) -> NDArray[Any]:
    """Normal values, a row of zeros, and zeros strewn over the others."""
    rng = np.random.default_rng(seed)
    values = (rng.standard_normal(shape) * size).astype(np.float32)
    values[rng.random(shape) < share] = 0
    values[3] = 0
    return values


def check(before: NDArray[Any], after: NDArray[Any], k: int | None = None) -> None:
    assert (after[before == 0] == 0).all()
    assert np.unique(after).size <= max(k or 1 << 30, 3)


@given(
    st.integers(0, 99), st.sampled_from([0.0, 0.01, 0.3, 0.95]), st.sampled_from([2, 3, 4, 16, 256]),
    st.sampled_from(BOOKS), st.sampled_from(["nearest", "balanced"]), st.sampled_from([1e-8, 0.1, 1e5]),
    st.integers(0, 1),
)  # fmt: skip
def test_shared_arrays_keep_their_zeros(
    seed: int, share: float, k: int, book: str, rounding: str, size: float, axis: int
) -> None:
    values = sparse(seed, share, size=size)
    item = share_array(values, Layer("w", "dense", values.shape, k, axis), book, "fp16", rounding)
    check(values, item.dense(), k if book == "tensor" else None)


@given(st.integers(0, 99), st.sampled_from([0.0, 0.3, 0.95]), st.sampled_from([(2, 4, 16), (4, 16), (3, 5), (2, 3, 4)]))
def test_every_level_keeps_them(seed: int, share: float, levels: tuple[int, ...]) -> None:
    values = sparse(seed, share)
    item = share_nested(values, Layer("w", "dense", values.shape, levels[-1]), levels, "fp16")
    for level, k in enumerate(levels):
        check(values, at_level(item, level).dense(), k)


@pytest.mark.parametrize("k", [3, 16, 64])
def test_an_entry_for_few_zeros_costs_little(k: int) -> None:
    """Beside k-means that lets them go: at an odd K nothing, at 4 the most."""
    values = sparse(0, 0.0, (64, 256))
    free = kmeans(values, k).inertia
    read = share_array(values, Layer("w", "dense", values.shape, k), "tensor", "exact").dense()
    assert ((read - values).astype(np.float64) ** 2).sum() < 1.06 * free


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_bare_tensors_of_every_float_type_keep_them(dtype: torch.dtype) -> None:
    values = torch.from_numpy(sparse(1, 0.1)).to(dtype)
    for settings in ({"k": 4}, {"k": 4, "codebook": "channel"}, {"codebook": "affine4"}, {"levels": (4, 8)}):
        read = qacomp.decode(qacomp.compress({"a.weight": values}, **settings))["a.weight"]
        assert bool((read[values == 0] == 0).all()) and read.dtype == dtype


def test_an_onnx_embeddings_padding_row_stays_zero(tmp_path: Path) -> None:
    table, weight = sparse(2, 0.0, (50, 32)), sparse(3, 0.6, (32, 32))
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "ids"], ["h"]), helper.make_node("MatMul", ["h", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, [8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(table, "table"), numpy_helper.from_array(weight, "w")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "m.onnx")
    for settings in ({"k": 8}, {"k": 256}, {"codebook": "affine4"}, {"levels": (4, 8)}, {"sharing": "rate"}):
        qacomp.compress(tmp_path / "m.onnx", output=tmp_path / "m.qac", **settings)
        decode_file(tmp_path / "m.qac", tmp_path / "o.onnx")
        read = {t.name: numpy_helper.to_array(t) for t in onnx.load(tmp_path / "o.onnx").graph.initializer}
        check(table, read["table"])
        check(weight, read["w"])


def data() -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(0)
    y = np.arange(120) % 3
    x = (rng.integers(0, 120, (120, 8, 8)) + 60 * y[:, None, None]).astype(np.uint8)
    return {"x_train": x[:80], "y_train": y[:80], "x_test": x[80:], "y_test": y[80:]}


def network(row: bool = True) -> nn.Sequential:
    """A pruned layer and one with few zeros, each with a row of zeros."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 16), nn.ReLU(), nn.Linear(16, 3))
    with torch.no_grad():
        for name, share in (("1.weight", 0.6), ("3.weight", 0.01)):
            weight = model.get_parameter(name)
            weight.mul_((torch.rand(weight.shape) >= share).float())
            if row:
                weight[2] = 0
    return model


TRAINED: dict[str, dict[str, Any]] = {
    "regularizer, shared after": {"reg": "exp", "sharing": "after", "k": 4, "epochs": 1},
    "regularizer, straight-through": {"reg": "min", "sharing": "straight-through", "k": 4, "epochs": 1},
    "straight-through alone": {"sharing": "straight-through:entropy=0.05", "k": 4, "epochs": 1},
    "k-means, tuned": {"k": 4},
    "two values": {"reg": "min", "k": 2, "epochs": 1},
    "channels": {"codebook": "channel", "k": 4},
    "grids": {"codebook": "affine4"},
    "dorefa": {"quantizer": "dorefa", "bits": 3, "epochs": 1},
    "wrpn": {"quantizer": "wrpn", "bits": 3, "epochs": 1},
    "sinreq": {"quantizer": "dorefa", "bits": 3, "reg": "sinreq", "epochs": 1},
    "levels": {"levels": (4, 8), "reg": "min", "epochs": 1},
    "levels, straight-through": {"levels": (2, 4, 8), "sharing": "straight-through", "epochs": 1},
    "levels, tuned": {"levels": (4, 8), "sharing": "after"},
    "pruned": {"prune": "magnitude:rate=0.3,epochs=1", "k": 4},
    "by rate": {"sharing": "rate", "epochs": 2, "quality": "high"},
    "by rate, tuned on labels": {"sharing": "rate", "epochs": 0},
    "pruned, by rate": {"prune": "magnitude:rate=0.3,epochs=1", "sharing": "rate", "epochs": 2},
}


@pytest.mark.parametrize("mode", TRAINED)
def test_networks_keep_theirs_through_every_training(mode: str, tmp_path: Path) -> None:
    settings = {"tune_epochs": 1, "batch_size": 20, "min_size": 1} | TRAINED[mode]
    row = "prune" not in settings  # which removes dead channels
    result = qacomp.compress(network(row), data(), output=tmp_path / "m.qac", progress=False, **settings)
    before = network(row).state_dict()
    with open_file(tmp_path / "m.qac") as container:
        for name in ("1.weight", "3.weight"):
            zero, levels = before[name].numpy() == 0, len(container.info(name).levels)
            for level in range(levels) if levels > 1 else (None,):
                assert (container.tensor(name, level=level)[zero] == 0).all(), (name, level)
            assert (container.tensor(name)[~zero] != 0).mean() > (0.5 if row else 0.1)
    assert result.accuracy.decoded is not None


def test_without_data_they_stay_too(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 24), nn.ReLU(), nn.Linear(24, 5))
    weight = model.get_parameter("3.weight").detach()
    weight[torch.rand(weight.shape) < 0.3] = 0
    for settings in (
        {"codebook": "channel", "k": 4},
        {"levels": (4, 8)},
        {"target_size": "8x", "sharing": "rate:tuned=false"},
    ):
        result = qacomp.compress(model.eval(), input_shape=(1, 8, 8), output=tmp_path / "m.qac", **settings)
        read = qacomp.decode(result)["3.weight"]
        assert bool((read[weight == 0] == 0).all()) and bool((read != 0).any())
