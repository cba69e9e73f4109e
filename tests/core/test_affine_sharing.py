"""Shared values on affine grids: they are stored exactly, tuning moves scales alone, the affine file is exact."""

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
from qacomp.errors import ConfigError
from qacomp.exporting.decode import decode_file
from qacomp.exporting.decoded_measuring import measure_decoded
from qacomp.exporting.onnx_options import OnnxOptions
from qacomp.exporting.onnx_output import write_onnx_file
from qacomp.formats import (
    BFLOAT16,
    SharedTensor,
    bfloat16_from_float32,
    bfloat16_to_float32,
    open_file,
    save_file,
    stored_values,
)
from qacomp.options.codebook import GridKind, grid_kind
from qacomp.options.config import CompressConfig
from qacomp.runtime.comparison import FP32_ACTIVATIONS
from qacomp.runtime.session import open_session
from qacomp.sharing.affine import codebooks, grid_blocks, grid_numbers, plain_scale, share_on_grid
from qacomp.training.parametrizations.grid import share_weight_on_grid
from qacomp.training.parametrizations.shared import shared_tensor


def data() -> dict[str, NDArray[np.generic]]:
    rng = np.random.default_rng(0)
    y = np.arange(300) % 3
    x = (rng.integers(0, 120, (300, 8, 8)) + 60 * y[:, None, None]).astype(np.uint8)
    return {"x_train": x[:200], "y_train": y[:200], "x_test": x[200:], "y_test": y[200:]}


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 96), nn.ReLU(), nn.Linear(96, 3))


@given(
    st.integers(1, 7),
    st.integers(2, 60),
    st.sampled_from([2, 4, 8]),
    st.integers(0, 1),
    st.integers(-7, 3),
    st.sampled_from([None, 16, 32]),
)
def test_every_value_of_a_grid_is_exact_as_it_is_stored(
    channels: int, n: int, bits: int, axis: int, exponent: int, block: int | None
) -> None:
    rng = np.random.default_rng(n)
    rows = (rng.laplace(size=(channels, n)) * 10.0**exponent).astype(np.float32)
    shared = share_on_grid(np.ascontiguousarray(rows if axis == 0 else rows.T), axis, bits, block)
    books, parts = shared.codebook, -(-n // (block or n)) if n >= (block or n) else 1
    assert books.shape == ((channels, parts) if axis == 0 else (parts, channels)) + (1 << bits,)
    assert np.array_equal(stored_values(books, "exact" if bits == 8 or exponent < -3 else "fp16"), books)
    assert (books == 0).any(axis=-1).all()
    found = grid_numbers(shared)
    assert found is not None
    assert np.array_equal(codebooks(*found, bits), books)
    dense = shared.dense() if axis == 0 else shared.dense().T
    whole = np.ptp(np.concatenate([rows, np.zeros((channels, 1), np.float32)], axis=1), axis=1, keepdims=True)
    naive = whole / ((1 << bits) - 1) * 0.75  # half a step, and what the zero point's rounding adds
    assert ((dense - rows) ** 2).mean() <= (naive**2).mean()


@pytest.mark.parametrize("dtype", [np.dtype(np.float16), BFLOAT16])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_narrow_types_hold_their_grids_too(dtype: np.dtype[Any], bits: int) -> None:
    rows = np.random.default_rng(0).standard_normal((6, 200)).astype(np.float32)
    shared = share_on_grid(rows, 0, bits, 32, dtype)
    half = bfloat16_to_float32(bfloat16_from_float32(shared.codebook)) if dtype == BFLOAT16 else None
    assert np.array_equal(shared.codebook.astype(np.float16) if half is None else half, shared.codebook)
    error = ((shared.dense() - rows) ** 2).mean()
    assert error < {2: 0.15, 4: 0.01, 8: 2e-4}[bits]


def test_smaller_blocks_and_more_bits_lose_less() -> None:
    matrix = np.random.default_rng(0).standard_t(4, (40, 256)).astype(np.float32)
    lost = {
        kind: float(((share_on_grid(matrix, 0, *kind).dense() - matrix) ** 2).sum())
        for kind in ((2, 32), (4, None), (4, 128), (4, 32), (4, 16), (8, None), (8, 32))
    }
    assert list(lost.values()) == sorted(lost.values(), reverse=True)
    assert lost[4, 32] < 0.5 * lost[4, None] and lost[8, 32] < 0.01 * lost[4, 32]


def test_what_has_no_blocks_gets_a_grid_a_channel_and_a_reason() -> None:
    assert grid_blocks((10, 64), 0, 32) == ((1, 32), None) and grid_blocks((64, 10), 1, 32) == ((32, 1), None)
    assert grid_blocks((10, 64), 1, None) == ((10, 1), None)
    assert grid_blocks((10, 20), 0, 32) == ((1, 20), "its 20 inputs are fewer than the group size of 32")
    blocks, reason = grid_blocks((6, 5, 3, 3), 0, 16)
    assert blocks == (1, 5, 3, 3) and reason is not None and reason.startswith("it has 4 axes")


@pytest.mark.parametrize("kind", [(4, None), (4, 16), (8, 32), (2, 32)])
def test_scales_are_trained_and_stay_plain(kind: tuple[int, int | None]) -> None:
    layer = nn.Linear(70, 6)
    shared = share_on_grid(layer.weight.detach().numpy(), 0, *kind)
    share_weight_on_grid(layer, "weight", shared)
    weight = layer.weight.detach().clone()
    assert np.array_equal(weight.numpy(), shared.dense())
    assert np.array_equal(shared_tensor(layer, "weight").codebook, shared.codebook)
    (factors,) = (p for name, p in layer.named_parameters() if "original" in name)
    assert factors.shape == shared.codebook.shape[:-1]
    x = torch.randn(9, 70)
    torch.autograd.backward(layer(x).sum())
    gradient = x.sum(0) * weight  # of each weight's own factor
    size = kind[1] or 70
    blocks = [gradient[:, start : start + size].sum(1) for start in range(0, 70, size)]
    assert factors.grad is not None and torch.allclose(factors.grad, torch.stack(blocks, dim=1), atol=1e-4)
    with torch.no_grad():
        factors.mul_(torch.linspace(0.7, 1.4, factors.numel()).reshape(factors.shape))
    changed = shared_tensor(layer, "weight")
    assert np.array_equal(changed.indices, shared.indices) and changed.blocks == shared.blocks
    numbers, before = grid_numbers(changed), grid_numbers(shared)
    assert numbers is not None and before is not None and np.array_equal(numbers[1], before[1])
    assert np.array_equal(plain_scale(numbers[0], kind[0]), numbers[0])
    assert np.allclose(changed.dense(), layer.weight.detach().numpy(), rtol=2**-7, atol=0)


KINDS = ("affine4", "affine8", "affine2:16", "affine4:32", "affine8:32")


@pytest.mark.parametrize("kind", ["affine4", "affine2:16", "affine8:32"])
def test_tuning_moves_scales_alone_and_the_affine_file_is_exact(kind: str, tmp_path: Path) -> None:
    before = qacomp.compress(network(), data(), codebook=kind, tune_epochs=0, output=tmp_path / "a.qac")
    after = qacomp.compress(
        network(), data(), codebook=kind, tune_epochs=8, lr_tune=0.1, batch_size=32, output=tmp_path / "b.qac"
    )
    assert {layer.k for layer in after.layers} == {1 << int(kind[6]), None}
    assert "2 bias and norm vectors are rounded to fp16" in after.notes[-1] and (after.accuracy.tuned or 0) > 90
    with open_file(before.output) as a, open_file(after.output) as b:
        for name in ("1.weight", "3.weight"):
            old, new = a.shared(name), b.shared(name)
            assert np.array_equal(old.indices, new.indices) and old.blocks == new.blocks
            found = grid_numbers(old), grid_numbers(new)
            assert found[0] is not None and found[1] is not None
            assert np.array_equal(found[0][1], found[1][1]) and not np.array_equal(found[0][0], found[1][0])
    done = decode_file(after.output, tmp_path / "m.onnx", onnx=OnnxOptions("affine"))
    assert done.max_abs_error == 0 and done.onnx is not None and done.onnx.fused == 2
    assert [t.form for t in done.onnx.tensors] == ["affine", "affine"]
    dense = decode_file(after.output, tmp_path / "d.onnx")
    assert done.output_bytes < {2: 0.3, 4: 0.3, 8: 0.45}[int(kind[6])] * dense.output_bytes
    looked_up = decode_file(after.output, tmp_path / "l.onnx", onnx=OnnxOptions("lut"))
    assert looked_up.max_abs_error == 0 and looked_up.onnx is not None
    assert all(t.form == "lut" or "look-up would take" in str(t.reason) for t in looked_up.onnx.tensors)
    x = np.random.default_rng(1).standard_normal((4, 1, 8, 8)).astype(np.float32)
    outputs = []
    for file, options in (("m", FP32_ACTIVATIONS), ("l", None), ("d", None)):
        session = open_session(tmp_path / f"{file}.onnx", settings=options)
        outputs.append(session.run(None, {session.get_inputs()[0].name: x})[0])
    assert np.abs(outputs[0] - outputs[2]).max() < 1e-5 * np.abs(outputs[2]).max()
    assert np.array_equal(outputs[1], outputs[2])


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize(
    ("kind", "block"),
    [(kind, 32) for kind in ("MatMul", "Gemm", "Gemm transposed", "Transpose")]
    + [("MatMul", block) for block in (None, 16, 64, 128, 256)],
)
def test_the_affine_file_computes_with_these_very_weights(
    kind: str, bits: int, block: int | None, tmp_path: Path
) -> None:
    """Inputs that the block doesn't divide, and outputs behind a bias."""
    inputs, outputs = 300, 24
    rng = np.random.default_rng(0)
    transposed = "ransp" in kind
    matrix = rng.standard_normal((outputs, inputs) if transposed else (inputs, outputs)).astype(np.float32)
    weight = share_on_grid(matrix, 0 if transposed else 1, bits, block)
    dense, bias = weight.dense(), rng.standard_normal(outputs).astype(np.float32)
    product = {
        "MatMul": [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "Gemm": [helper.make_node("Gemm", ["x", "w", "b"], ["y"])],
        "Gemm transposed": [helper.make_node("Gemm", ["x", "w", "b"], ["y"], transB=1)],
        "Transpose": [
            helper.make_node("Transpose", ["w"], ["t"], perm=[1, 0]),
            helper.make_node("MatMul", ["x", "t"], ["y"]),
        ],
    }[kind]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", s]) for n, s in (("x", inputs), ("y", outputs))]
    tensors = [numpy_helper.from_array(dense, "w")]
    tensors += [numpy_helper.from_array(bias, "b")] if "Gemm" in kind else []
    graph = helper.make_graph(product, "g", ends[:1], ends[1:], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    made = write_onnx_file(model, {"w": weight}, tmp_path / "m.onnx", OnnxOptions("affine"))
    assert made.fused == 1 and made.max_abs_error == 0
    assert made.tensors[0].detail == f"uint{bits}, " + (f"blocks of {block}" if block else "a scale for each column")
    x = rng.standard_normal((5, inputs)).astype(np.float32)
    expected = x @ (dense.T if transposed else dense) + (bias if "Gemm" in kind else 0)
    found = open_session(tmp_path / "m.onnx", settings=FP32_ACTIVATIONS).run(None, {"x": x})[0]
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize("block", [None, 16])
@pytest.mark.parametrize("columns", [1, 10, 12])
def test_two_bits_give_right_outputs_for_any_number_of_columns(columns: int, block: int | None, tmp_path: Path) -> None:
    """onnxruntime 1.31's product of 2-bit integers is wrong where four doesn't divide the columns."""
    rng = np.random.default_rng(0)
    weight = share_on_grid(rng.standard_normal((64, columns)).astype(np.float32), 1, 2, block)
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


@pytest.mark.parametrize("kind", KINDS)
def test_an_onnx_model_is_shared_on_grids_too(kind: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    tensors = [numpy_helper.from_array(rng.standard_normal(s).astype(np.float32), n) for n, s in SIZES.items()]
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("Gemm", ["h", "v", "b"], ["y"], transB=1),
    ]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", s]) for n, s in (("x", 48), ("y", 24))]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    result = qacomp.compress(model, codebook=kind, output=tmp_path / "m.qac")
    done = measure_decoded(decode_file(result.output, tmp_path / "m.onnx", onnx=OnnxOptions("affine")))
    assert done.max_abs_error == 0 and done.onnx is not None and done.onnx.fused == 2
    assert done.onnx.comparison is not None and (done.onnx.comparison.max_abs_error_fp32 or 0) < 1e-4
    onnx.checker.check_model(onnx.load(tmp_path / "m.onnx"))


SIZES = {"w": (48, 32), "v": (24, 32), "b": (24,)}


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_tensors_keep_their_type_and_what_gets_no_blocks_is_named(dtype: type[np.floating], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    state = {"fc": rng.standard_normal((20, 100)), "conv": rng.standard_normal((8, 4, 3, 3))}
    state |= {"short": rng.standard_normal((40, 20))}
    arrays = {name: value.astype(dtype) for name, value in state.items()}
    result = qacomp.compress(arrays, codebook="affine4:32", output=tmp_path / "m.qac")
    named = [note for note in result.notes if "one grid for each channel" in note]
    assert [note.split(":")[0] for note in named] == ["conv", "short"]
    assert "4 axes" in named[0] and "20 inputs are fewer than the group size of 32" in named[1]
    with open_file(result.output) as container:
        assert [container.info(name).blocks for name in arrays] == [(1, 32), (1, 4, 3, 3), (1, 20)]
        for name, array in arrays.items():
            back = container.tensor(name)
            assert back.dtype == dtype and ((back - array) ** 2).mean() < 0.02


def test_blocks_of_16_are_turned_where_the_default_block_has_no_room(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    matrix = rng.standard_normal((20, 40)).astype(np.float32)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", s]) for n, s in (("x", 20), ("y", 40))]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], [numpy_helper.from_array(matrix, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    for kind, form in (("affine4:16", "affine"), ("affine4:32", "lut")):
        result = qacomp.compress(model, codebook=kind, output=tmp_path / "m.qac")
        assert any("20 inputs are fewer than the group size of 32" in note for note in result.notes) == (form == "lut")
        done = measure_decoded(decode_file(result.output, tmp_path / "m.onnx", onnx=OnnxOptions("affine")))
        assert done.onnx is not None and [t.form for t in done.onnx.tensors] == [form] and done.max_abs_error == 0
        assert form == "affine" or done.onnx.tensors[0].reason == "its 20 rows are fewer than the group size of 32"


def test_grids_take_few_bytes(tmp_path: Path) -> None:
    """A scale and a zero point a block, not their codebooks of 16 or 256 values."""
    matrix = np.random.default_rng(0).standard_normal((96, 256)).astype(np.float32)
    for bits, block in ((4, None), (4, 32), (8, None), (8, 32)):
        shared = share_on_grid(matrix, 0, bits, block)
        save_file(tmp_path / "m.qac", {"w": shared}, precision="exact" if bits == 8 else "fp16")
        with open_file(tmp_path / "m.qac") as container:
            assert np.array_equal(container.tensor("w"), shared.dense())
            values = [(section.codec, section.bytes) for section in container.sections if section.kind == "values"]
        assert len(values) == 1 and values[0][0] == "grids"
        assert values[0][1] < 2 * shared.codebook.size / (1 << bits) + 100


def test_the_number_of_values_is_the_grids() -> None:
    with pytest.raises(ConfigError, match="--k: has no effect together with --codebook affine"):
        CompressConfig(codebook="affine4", k=8).check()
    for wrong in ("affine3", "affine", "affine4:33", "affine4:0", "affine4:032", "affine16", "affine4:", "Affine4"):
        with pytest.raises(ConfigError, match=r"affine2, affine4 or affine8, alone or with :N .* 16, 32, 64, 128, 256"):
            CompressConfig(codebook=wrong).check()
    assert grid_kind("affine8:256") == GridKind(8, 256) and grid_kind("channel") is None
