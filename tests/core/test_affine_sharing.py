"""Shared values on affine grids: half precision holds them, tuning moves scales alone, the affine file is exact."""

from pathlib import Path

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
from qacomp.config import CompressConfig
from qacomp.decoding import decode
from qacomp.errors import ConfigError
from qacomp.evaluation.comparison import FP32_ACTIVATIONS
from qacomp.evaluation.session import open_session
from qacomp.formats import SharedTensor, open_file, stored_values
from qacomp.onnx_options import OnnxOptions
from qacomp.onnx_output import write_onnx_file
from qacomp.sharing.affine import grid_steps, rescaled, share_on_grid


def data() -> dict[str, NDArray[np.generic]]:
    rng = np.random.default_rng(0)
    y = np.arange(300) % 3
    x = (rng.integers(0, 120, (300, 8, 8)) + 60 * y[:, None, None]).astype(np.uint8)
    return {"x_train": x[:200], "y_train": y[:200], "x_test": x[200:], "y_test": y[200:]}


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 96), nn.ReLU(), nn.Linear(96, 3))


@given(st.integers(1, 7), st.integers(2, 60), st.sampled_from([2, 4]), st.integers(0, 1), st.integers(-7, 3))
def test_every_value_of_a_grid_is_exact_in_half_precision(
    channels: int, n: int, bits: int, axis: int, exponent: int
) -> None:
    rng = np.random.default_rng(n)
    rows = (rng.laplace(size=(channels, n)) * 10.0**exponent).astype(np.float32)
    shared = share_on_grid(np.ascontiguousarray(rows if axis == 0 else rows.T), axis, bits)
    books = shared.codebook.reshape(channels, 1 << bits)
    assert np.array_equal(stored_values(books, "fp16"), books) and (books == 0).any(axis=1).all()
    found = grid_steps(shared)
    assert found is not None
    steps, scale, zero = found
    assert np.array_equal((steps + zero[:, None]), np.tile(np.arange(1 << bits), (channels, 1)))
    assert np.array_equal(steps * scale[:, None], books)
    dense = shared.dense() if axis == 0 else shared.dense().T
    if exponent > -4:  # below, half precision's own steps are coarse
        whole = np.ptp(np.concatenate([rows, np.zeros((channels, 1), np.float32)], axis=1), axis=1, keepdims=True)
        naive = whole / ((1 << bits) - 1) * 0.75  # half a step, and what the zero point's rounding adds
        assert ((dense - rows) ** 2).mean() <= (naive**2).mean()


def test_scales_are_trained_and_stay_plain() -> None:
    books = share_on_grid(np.random.default_rng(0).standard_normal((5, 40)).astype(np.float32), 0, 4).codebook[:, 0]
    changed = rescaled(books, np.array([1, 1.1, 0.9, 2, 1.001], np.float32))
    assert np.array_equal(changed[0], books[0]) and np.array_equal(stored_values(changed, "fp16"), changed)
    assert np.abs(changed[1] / np.where(books[1] == 0, 1, books[1])).max() == pytest.approx(1.1, rel=2**-7)


def test_tuning_moves_scales_alone_and_the_affine_file_is_exact(tmp_path: Path) -> None:
    kind = "affine4"
    before = qacomp.compress(network(), data(), codebook=kind, tune_epochs=0, output=tmp_path / "a.qac")
    after = qacomp.compress(
        network(), data(), codebook=kind, tune_epochs=4, lr_tune=0.02, batch_size=32, output=tmp_path / "b.qac"
    )
    assert {layer.k for layer in after.layers} == {16, None}
    with open_file(before.output) as a, open_file(after.output) as b:
        for name in ("1.weight", "3.weight"):
            old, new = a.shared(name), b.shared(name)
            assert np.array_equal(old.indices, new.indices)
            found = grid_steps(old), grid_steps(new)
            assert found[0] is not None and found[1] is not None
            assert np.array_equal(found[0][0], found[1][0]) and np.array_equal(found[0][2], found[1][2])
            assert not np.array_equal(found[0][1], found[1][1])
    done = decode(after.output, tmp_path / "m.onnx", onnx=OnnxOptions("affine"), measure=False)
    assert done.max_abs_error == 0 and done.onnx is not None and done.onnx.fused == 2
    assert [t.form for t in done.onnx.tensors] == ["affine", "affine"]
    dense = decode(after.output, tmp_path / "d.onnx", measure=False)
    assert done.output_bytes < 0.3 * dense.output_bytes
    x = np.random.default_rng(1).standard_normal((4, 1, 8, 8)).astype(np.float32)
    outputs = []
    for path, options in ((tmp_path / "m.onnx", FP32_ACTIVATIONS), (tmp_path / "d.onnx", None)):
        session = open_session(path, settings=options)
        outputs.append(session.run(None, {session.get_inputs()[0].name: x})[0])
    assert np.abs(outputs[0] - outputs[1]).max() < 1e-5 * np.abs(outputs[1]).max()


@pytest.mark.parametrize("columns", [10, 12])
def test_two_bits_give_right_outputs_for_any_number_of_columns(columns: int, tmp_path: Path) -> None:
    """onnxruntime 1.31's product of 2-bit integers is wrong where four doesn't divide the columns."""
    rng = np.random.default_rng(0)
    weight = share_on_grid(rng.standard_normal((64, columns)).astype(np.float32), 1, 2)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", s]) for n, s in (("x", 64), ("y", columns))]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], [numpy_helper.from_array(weight.dense(), "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    for value in (weight, SharedTensor(np.array([-1, 0, 1, 2], np.float32), weight.indices)):
        dense = value.dense()
        model.graph.initializer[0].CopyFrom(numpy_helper.from_array(dense, "w"))
        made = write_onnx_file(model, {"w": value}, tmp_path / "m.onnx", OnnxOptions("affine"))
        assert made.fused == 1 and made.tensors[0].detail.startswith("uint4" if columns % 4 else "uint2")
        x = rng.standard_normal((3, 64)).astype(np.float32)
        found = open_session(tmp_path / "m.onnx", settings=FP32_ACTIVATIONS).run(None, {"x": x})[0]
        assert np.abs(found - x @ dense).max() < 1e-4


def test_an_onnx_model_is_shared_on_grids_too(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    tensors = [numpy_helper.from_array(rng.standard_normal(s).astype(np.float32), n) for n, s in SIZES.items()]
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("Gemm", ["h", "v", "b"], ["y"], transB=1),
    ]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", s]) for n, s in (("x", 48), ("y", 24))]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    result = qacomp.compress(model, codebook="affine4", output=tmp_path / "m.qac")
    done = decode(result.output, tmp_path / "m.onnx", onnx=OnnxOptions("affine"))
    assert done.max_abs_error == 0 and done.onnx is not None and done.onnx.fused == 2
    assert done.onnx.comparison is not None and (done.onnx.comparison.max_abs_error_fp32 or 0) < 1e-4
    onnx.checker.check_model(onnx.load(tmp_path / "m.onnx"))


SIZES = {"w": (48, 32), "v": (24, 32), "b": (24,)}


def test_the_number_of_values_is_the_grids() -> None:
    with pytest.raises(ConfigError, match="--k: has no effect beside --codebook affine"):
        CompressConfig(codebook="affine4", k=8).check()
    with pytest.raises(ConfigError, match="affine2 or affine4"):
        CompressConfig(codebook="affine3").check()
