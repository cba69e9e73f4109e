"""Half precision is for codebooks and vectors that it holds; where it would lose too much of them they stay exact."""

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
from qacomp.datasets.preprocessing import Preprocessing
from qacomp.exporting.decode import decode_file
from qacomp.formats import open_file, stored_values
from qacomp.sources.network import Network
from qacomp.sources.torch_weights import select_layers
from qacomp.stages.pack_network import pack_network
from qacomp.tensors.half_precision import codebook_precision, holds, holds_bias, reach_of, vectors_held
from qacomp.training.share_network import share_network

RNG = np.random.default_rng(0)
FLOAT = TensorProto.FLOAT


def weights(*shape: int, size: float = 0.1) -> NDArray[Any]:
    return (RNG.standard_normal(shape) * size).astype(np.float32)


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=20), st.sampled_from(["fp16", "fp12"]))
def test_what_is_held_loses_no_more_than_ordinary_values(values: list[float], precision: str) -> None:
    array = np.array(values, np.float32)
    rounded = stored_values(array, precision).astype(np.float64)
    typical = np.sqrt(np.mean(array.astype(np.float64) ** 2))
    bound = np.maximum(np.abs(array), typical) * 2.0 ** (5 - int(precision[2:]))
    within = bool((np.abs(rounded - array) <= bound).all()) and np.abs(array).max() <= 65504
    assert holds(array, precision) == within or (array == rounded).all()


@pytest.mark.parametrize(
    ("values", "held"),
    [
        (weights(64), True), (weights(64, size=100), True), (weights(64, size=1e-7), False), (weights(64) * 1e6, False),
        (np.array([1e-12], np.float32), False), (np.array([1.0, 1e-9], np.float32), True),
        (np.zeros(5, np.float32), True),
        (weights(64).astype(np.float64), False),
    ],
)  # fmt: skip
def test_tiny_and_huge_vectors_are_not_held(values: NDArray[Any], held: bool) -> None:
    assert holds(values, "fp16") == held
    assert not holds(values, "exact")


def test_a_quiet_block_among_loud_ones_keeps_its_digits() -> None:
    books = np.stack([weights(16), weights(16, size=1e-8)])
    assert codebook_precision(books[:1], "fp16") == "fp16" and codebook_precision(books, "fp16") == "exact"


def test_an_offset_that_dwarfs_what_it_is_added_to_is_no_bias() -> None:
    weight = weights(64, 128)
    assert reach_of(weight, 64) == pytest.approx(0.1 * np.sqrt(128), rel=0.05)
    assert holds_bias(weights(64, size=3), "fp16", reach_of(weight, 64))
    assert not holds_bias(np.linspace(200, 600, 64, dtype=np.float32), "fp16", reach_of(weight, 64))


def test_vectors_of_a_state_dict_are_known_by_what_stands_beside_them() -> None:
    state = {
        "conv.weight": weights(8, 4, 3, 3), "conv.bias": weights(8), "bn.weight": weights(8) + 1, "bn.bias": weights(8),
        "bn.running_mean": weights(8), "bn.running_var": weights(8) ** 2, "rnn.weight_ih_l0": weights(32, 8),
        "rnn.bias_ih_l0": weights(32), "dense.kernel": weights(8, 5), "dense.bias": weights(5),
        "ln.gamma": weights(8) + 1,
        "ln.beta": weights(8), "rotary.inv_freq": weights(8), "alone.bias": weights(8), "alone.weight": weights(9),
        "odd.weight": weights(8, 4), "odd.bias": weights(7), "far.weight": weights(8, 4), "far.bias": weights(8) + 900,
        "small.weight": weights(8, 4, size=1e-8), "small.bias": weights(8, size=1e-8), "double.weight": weights(8, 4),
        "double.bias": weights(8).astype(np.float64),
    }  # fmt: skip
    assert set(vectors_held(state, "fp16")) == {
        "conv.bias", "bn.weight", "bn.bias", "rnn.bias_ih_l0", "dense.bias", "ln.gamma", "ln.beta",
    }  # fmt: skip
    assert not vectors_held(state, "exact")


def test_bare_vectors_that_are_no_bias_stay_exact_and_rounded_ones_say_so() -> None:
    inv = 1 / 500000 ** (torch.arange(0, 128, 2).float() / 128)
    kept = torch.cumprod(1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2, 0)
    state = {"q.weight": torch.from_numpy(weights(64, 64)), "q.bias": torch.from_numpy(weights(64))}
    state |= {"rotary.inv_freq": inv, "alphas_cumprod": kept, "eps": torch.tensor([1e-12])}
    state["w.weight"] = torch.from_numpy(weights(64, 64, size=1e-8))
    result = qacomp.compress(state, k=16)
    back = qacomp.decode(result)
    for name in ("rotary.inv_freq", "alphas_cumprod", "eps"):
        assert torch.equal(back[name], state[name]), name
    rows = {row.name: row for row in result.layers}
    assert rows["q.bias"].skipped == "bias beside q.weight, a vector: rounded to fp16"
    assert "rounded" in str(rows["q.weight"].chosen) and "rounded" not in str(rows["w.weight"].chosen)
    assert any(note.startswith("1 bias or norm vector is rounded to fp16") for note in result.notes)
    tiny = back["w.weight"]
    assert 0.05 < float((tiny - state["w.weight"]).norm() / state["w.weight"].norm()) < 0.2
    exact = qacomp.compress(state, k=16, stored_precision="exact")
    assert not any("rounded" in note for note in exact.notes)


@pytest.mark.parametrize("codebook", ["tensor", "channel", "group:64", "affine2", "affine4", "affine8", "affine4:32"])
@pytest.mark.parametrize("size", [1e-8, 1e-12, 1e6])
def test_weights_of_any_size_lose_as_much_as_ordinary_ones(codebook: str, size: float) -> None:
    ordinary = np.random.default_rng(3).standard_normal((64, 128)).astype(np.float32)

    def lost(factor: float) -> float:
        weight = torch.from_numpy((ordinary * factor).astype(np.float32))
        more: dict[str, Any] = {} if codebook.startswith("affine") else {"k": 4}
        read = qacomp.decode(qacomp.compress({"a.weight": weight}, codebook=codebook, **more))["a.weight"]
        return float((read - weight).double().norm() / weight.double().norm())

    assert lost(size) <= 1.02 * lost(1.0)


@pytest.mark.parametrize("levels", [(4, 16)])
def test_levels_of_tiny_weights_too(levels: tuple[int, ...]) -> None:
    weight = torch.from_numpy(weights(64, 64, size=1e-8))
    read = qacomp.decode(qacomp.compress({"a.weight": weight}, levels=levels))["a.weight"]
    assert float((read - weight).norm() / weight.norm()) < 0.2


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floats_come_back_in_their_dtype_and_exactly(dtype: torch.dtype) -> None:
    state = {"a.weight": torch.from_numpy(weights(64, 64)).to(dtype), "a.bias": torch.from_numpy(weights(64)).to(dtype)}
    back = qacomp.decode(qacomp.compress(state, k=16))
    assert back["a.weight"].dtype == dtype and torch.equal(back["a.bias"], state["a.bias"])


def onnx_reasons(folder: Path, nodes: list[Any], tensors: dict[str, NDArray[Any]], shape: list[int]) -> dict[str, str]:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", FLOAT, shape)],
        [helper.make_tensor_value_info("y", FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in tensors.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / "m.onnx")
    result = qacomp.compress(folder / "m.onnx", output=folder / "m.qac", k=16)
    decode_file(folder / "m.qac", folder / "o.onnx")
    back = onnx.load(folder / "o.onnx")
    read = {t.name: numpy_helper.to_array(t) for t in back.graph.initializer}
    rows = {row.name: str(row.skipped) for row in result.layers if row.k is None}
    for name, reason in rows.items():
        assert ("rounded to fp16" in reason) != np.array_equal(read[name], tensors[name]), name
    return rows


def test_onnx_vectors_are_rounded_where_a_product_reads_them_as_its_bias(tmp_path: Path) -> None:
    """Not an offset ahead of a product, an epsilon behind one, a variance, or a bias far larger than the product."""
    make = helper.make_node
    tensors = {
        "offset": -np.linspace(20000, 60000, 32, dtype=np.float32), "w": weights(32, 32), "b": weights(32),
        "v": weights(32, 32), "far": weights(32) + 5000, "u": weights(32, 32), "eps": np.full(32, 1e-12, np.float32),
        "g": weights(32) + 1, "shift": weights(32), "mean": weights(32), "var": np.full(32, 1e-9, np.float32),
        "slope": weights(32), "q": weights(32, 32, size=1e-8), "qb": weights(32, size=1e-8), "late": weights(32),
    }  # fmt: skip
    nodes = [
        make("Add", ["x", "offset"], ["a"]), make("MatMul", ["a", "w"], ["p"]), make("Add", ["b", "p"], ["c"]),
        make("Gemm", ["c", "v", "far"], ["d"]), make("MatMul", ["d", "u"], ["e"]), make("Mul", ["e", "e"], ["e2"]),
        make("Add", ["e2", "eps"], ["f"]), make("BatchNormalization", ["f", "g", "shift", "mean", "var"], ["h"]),
        make("PRelu", ["h", "slope"], ["i"]), make("Gemm", ["i", "q", "qb"], ["j"]), make("Relu", ["j"], ["k"]),
        make("Add", ["k", "late"], ["y"]),
    ]  # fmt: skip
    rows = onnx_reasons(tmp_path, nodes, tensors, [4, 32])
    assert {name for name, reason in rows.items() if "rounded" in reason} == {"b", "g", "shift"}
    assert rows["b"] == "bias of Add, a vector: rounded to fp16"


def exact_norms(model: nn.Module) -> set[str]:
    preprocessing = Preprocessing((8, 8), 4, (0.0,) * 4, (1.0,) * 4)
    network = Network(model.eval(), "lenet5", 4, (4, 8, 8), preprocessing)
    selection = select_layers(model, "all", 4, {})
    share_network(model, selection, {}, lambda _: None)
    return {name for name in pack_network(network, selection, "fp16").exact if name.startswith("1.")}


def test_a_folded_batch_norm_is_exact_where_its_statistics_are_extreme() -> None:
    """A scale below half precision's digits before huge inputs, and a shift that a mean far off has made."""

    def network(mean: float, deviation: float) -> nn.Module:
        norm = nn.BatchNorm2d(8)
        model = nn.Sequential(nn.Conv2d(4, 8, 3), norm, nn.Flatten(), nn.Linear(288, 4))
        assert norm.running_mean is not None and norm.running_var is not None
        with torch.no_grad():
            norm.running_mean.normal_().mul_(deviation).add_(mean)
            norm.running_var.uniform_(0.5, 2).mul_(deviation**2)
        return model

    assert not exact_norms(network(0, 1))
    assert exact_norms(network(0, 1e9)) == {"1.weight", "1.bias"}
    assert exact_norms(network(1e4, 1)) == {"1.weight", "1.bias"}


def test_by_rate_vectors_have_seven_significant_bits(tmp_path: Path) -> None:
    state = {"w": torch.randn(40, 50, generator=torch.Generator().manual_seed(0)), "b": torch.linspace(-1.0, 1.0, 40)}
    model = nn.Sequential(nn.Flatten(), nn.Linear(50, 40))
    model.load_state_dict({"1.weight": state["w"] / 7, "1.bias": state["b"]})
    for settings, precision in ({"sharing": "rate:tuned=false"}, "fp12"), ({"k": 4}, "fp16"):
        path = tmp_path / f"{precision}.qac"
        qacomp.compress(model, output=path, input_shape=(1, 5, 10), **settings)
        with open_file(path) as container:
            bias = container.tensor("1.bias")
        assert np.array_equal(bias, stored_values(state["b"].numpy(), precision))
        assert np.abs(bias - state["b"].numpy()).max() > 0
