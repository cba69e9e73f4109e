"""Integers behind DequantizeLinear: near the weights, fused by onnxruntime, and nothing else turned."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from qacomp.exporting.onnx_forms.opset import raise_opset
from qacomp.exporting.onnx_forms.written import written_weights
from qacomp.exporting.onnx_options import OnnxOptions
from qacomp.exporting.onnx_output import write_onnx_file
from qacomp.formats import SharedTensor, stored_values
from qacomp.runtime.comparison import FP32_ACTIVATIONS, Comparison, compare_files
from qacomp.runtime.feeds import generated_feeds
from qacomp.runtime.session import open_session
from qacomp.sharing.affine_grid import codebook_grid, nearest_grid

ROWS, COLUMNS = 100, 48  # 100 isn't a multiple of a block of 32
KINDS = ("MatMul", "Gemm", "Gemm transposed", "Transpose")


def shared(shape: tuple[int, ...], book: NDArray[np.float32]) -> SharedTensor:
    rng = np.random.default_rng(0)
    return SharedTensor(book, rng.integers(0, len(book), shape).astype(np.uint8))


def normal_book(k: int = 16) -> NDArray[np.float32]:
    return np.sort(np.random.default_rng(1).standard_normal(k)).astype(np.float32)


def model_of(
    kind: str, weight: NDArray[np.float32], opset: int = 18, extra: list[Any] | None = None
) -> onnx.ModelProto:
    nodes = {
        "MatMul": [helper.make_node("MatMul", ["x", "w"], ["p"])],
        "Gemm": [helper.make_node("Gemm", ["x", "w", "b"], ["p"])],
        "Gemm transposed": [helper.make_node("Gemm", ["x", "w", "b"], ["p"], transB=1)],
        "Transpose": [
            helper.make_node("Transpose", ["w"], ["t"], perm=[1, 0]),
            helper.make_node("MatMul", ["x", "t"], ["p"]),
        ],
    }[kind]
    bias = [numpy_helper.from_array(np.linspace(-1, 1, COLUMNS, dtype=np.float32), "b")] if "Gemm" in kind else []
    last = [helper.make_node("Neg", ["p"], ["y"])]
    graph = helper.make_graph(
        [*nodes, *(extra or []), *last],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", ROWS])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", COLUMNS])],
        [numpy_helper.from_array(weight, "w"), *bias],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def beside_dense(path: Path, model: onnx.ModelProto) -> Comparison:
    """What comes of comparing a written file with the dense model."""
    dense = path.with_name("dense.onnx")
    onnx.save(model, dense)
    return compare_files(path, dense, generated_feeds(open_session(dense, threads=1), dense))


def shape_of(kind: str) -> tuple[int, int]:
    return (COLUMNS, ROWS) if "ransp" in kind else (ROWS, COLUMNS)


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("kind", KINDS)
def test_products_fuse_and_compute_with_the_weights_reported(kind: str, bits: int, tmp_path: Path) -> None:
    weight = shared(shape_of(kind), normal_book())
    path = tmp_path / "m.onnx"
    made = write_onnx_file(model_of(kind, weight.dense()), {"w": weight}, path, OnnxOptions("affine", bits))
    assert made.fused == 1 and [t.form for t in made.tensors] == ["affine"] and not made.notes
    assert 0 < made.max_abs_error < {2: 2.0, 4: 0.3, 8: 0.02}[bits]
    dense = weight.dense()
    written = onnx.load(path)
    assert not any(t.name == "w" for t in written.graph.initializer)
    product = next(n for n in written.graph.node if n.op_type in ("MatMul", "Gemm"))
    assert product.input[1] == "w" and not any(n.op_type == "Transpose" for n in written.graph.node)
    made_weight = dict(written_weights(written, {"w": TensorProto.FLOAT}))["w"]
    assert np.abs(made_weight - (dense.T if "ransp" in kind else dense)).max() == made.max_abs_error
    x = np.random.default_rng(2).standard_normal((3, ROWS)).astype(np.float32)
    expected = -(x @ made_weight + (np.linspace(-1, 1, COLUMNS) if "Gemm" in kind else 0))
    exact = open_session(path, settings=FP32_ACTIVATIONS).run(None, {"x": x})[0]
    assert np.abs(exact - expected).max() < 1e-4
    assert np.abs(open_session(path).run(None, {"x": x})[0] - expected).max() < 0.03 * np.abs(expected).max()
    assert beside_dense(path, model_of(kind, dense)).max_abs_error_fp32 > 0


@pytest.mark.parametrize("activation", ["Relu", "Clip", "Sigmoid"])
@pytest.mark.parametrize("product", ["Gemm", "MatMul"])
def test_products_with_activations_between_them_fuse(product: str, activation: str, tmp_path: Path) -> None:
    """onnxruntime would make FusedGemm of some of them first."""
    weights = {f"w{i}": shared((64, 64), normal_book()) for i in range(3)}
    constants = {n: w.dense() for n, w in weights.items()}
    constants |= {"b": np.ones(64, np.float32), "low": np.array(0, np.float32), "high": np.array(6, np.float32)}
    nodes, x = [], "x"
    for name in weights:
        inputs = [x, name, "b"] if product == "Gemm" else [x, name]
        nodes.append(helper.make_node(product, inputs, [f"{name}p"]))
        if product == "MatMul":
            nodes.append(helper.make_node("Add", [f"{name}p", "b"], [f"{name}s"]))
        bounds = ["low", "high"] if activation == "Clip" else []
        nodes.append(helper.make_node(activation, [nodes[-1].output[0], *bounds], [f"{name}a"]))
        x = f"{name}a"
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", 64]) for n in ("x", x)]
    tensors = [numpy_helper.from_array(v, n) for n, v in constants.items()]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    path = tmp_path / "m.onnx"
    made = write_onnx_file(model, weights, path, OnnxOptions("affine"))
    assert made.fused == 3
    values = np.random.default_rng(0).standard_normal((2, 64)).astype(np.float32) * 0.01
    expected = values
    for weight in dict(written_weights(onnx.load(path), dict.fromkeys(weights, TensorProto.FLOAT))).values():
        expected = expected @ weight + 1
        function = {
            "Relu": lambda v: v.clip(0),
            "Clip": lambda v: v.clip(0, 6),
            "Sigmoid": lambda v: 1 / (1 + np.exp(-v)),
        }
        expected = function[activation](expected)
    exact = open_session(path, settings=FP32_ACTIVATIONS).run(None, {"x": values})[0]
    assert np.abs(exact - expected).max() <= 1e-4 * max(1, np.abs(expected).max())


@pytest.mark.parametrize("kind", KINDS)
def test_a_codebook_on_a_grid_stays_exact(kind: str, tmp_path: Path) -> None:
    book = stored_values(((np.arange(16) - 5) * np.float32(0.037)).astype(np.float32), "fp16")
    weight = shared(shape_of(kind), book)
    made = write_onnx_file(model_of(kind, weight.dense()), {"w": weight}, tmp_path / "m.onnx", OnnxOptions("affine"))
    assert made.fused == 1 and made.tensors[0].detail == "uint4, one scale"
    assert made.max_abs_error < 1e-3 * np.abs(book).max()
    assert beside_dense(tmp_path / "m.onnx", model_of(kind, weight.dense())).max_abs_error_fp32 < 0.03


def test_what_does_not_fuse_is_looked_up_instead(tmp_path: Path) -> None:
    weight = shared((ROWS, COLUMNS), normal_book())
    cases = {
        "Neg": helper.make_node("Neg", ["w"], ["other"]),
        "MatMul": helper.make_node("MatMul", ["w", "p"], ["other"]),
        "Gather": helper.make_node("Gather", ["w", "x"], ["other"]),
    }
    for operator in ("Neg", "MatMul"):
        model = model_of("MatMul", weight.dense(), extra=[cases[operator]])
        model.graph.output.append(helper.make_tensor_value_info("other", TensorProto.FLOAT, ["a", "b"]))
        model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = COLUMNS
        made = write_onnx_file(model, {"w": weight}, tmp_path / "m.onnx", OnnxOptions("affine"))
        assert [t.form for t in made.tensors] == ["lut"] and made.fused is None
        assert f"read by {operator}, which doesn't fuse" in str(made.tensors[0].reason)
        assert made.max_abs_error == 0 and beside_dense(tmp_path / "m.onnx", model).max_abs_error == 0
        assert onnx.load(tmp_path / "m.onnx").opset_import[0].version == 18


def test_an_opset_is_raised_only_by_its_number_where_operators_mean_the_same() -> None:
    model = model_of("Gemm", np.ones((ROWS, COLUMNS), np.float32), opset=13)
    nodes = [n.SerializeToString() for n in model.graph.node]
    assert raise_opset(model, 21)
    assert [n.SerializeToString() for n in model.graph.node] == nodes
    assert (model.opset_import[0].version, model.ir_version) == (21, 10)
    onnx.checker.check_model(model)


def test_an_old_opset_is_converted_and_keeps_its_metadata() -> None:
    squeeze = [
        helper.make_node("Unsqueeze", ["p"], ["u"], axes=[0]),
        helper.make_node("Squeeze", ["u"], ["s"], axes=[0]),
    ]
    model = model_of("MatMul", np.ones((ROWS, COLUMNS), np.float32), opset=11, extra=squeeze)
    model.metadata_props.add(key="classes", value="cat,dog")
    x = np.random.default_rng(0).standard_normal((2, ROWS)).astype(np.float32)
    expected = open_session(model).run(None, {"x": x})[0]
    assert raise_opset(model, 21)
    onnx.checker.check_model(model)
    assert model.opset_import[0].version == 21 and model.metadata_props[0].value == "cat,dog"
    assert np.array_equal(open_session(model).run(None, {"x": x})[0], expected)


def test_a_model_that_cannot_be_raised_is_left_as_it_was(tmp_path: Path) -> None:
    weight = shared((ROWS, COLUMNS), normal_book())
    model = model_of("MatMul", weight.dense(), opset=18)
    model.functions.append(
        helper.make_function("custom", "F", ["a"], ["b"], [helper.make_node("Neg", ["a"], ["b"])], model.opset_import)
    )
    made = write_onnx_file(model, {"w": weight}, tmp_path / "m.onnx", OnnxOptions("affine"))
    assert made.tensors[0].form == "lut" and "opset 18 can't be raised" in str(made.tensors[0].reason)


@given(st.integers(1, 90), st.integers(1, 5), st.sampled_from([2, 4, 8]), st.sampled_from([16, 32]))
def test_the_grid_is_never_worse_than_rounding_over_the_full_range(
    rows: int, columns: int, bits: int, block: int
) -> None:
    matrix = np.random.default_rng(rows).laplace(size=(rows, columns)).astype(np.float32)
    grid = nearest_grid(matrix, bits, block)
    assert grid.q.max(initial=0) < 1 << bits and grid.scale.shape == (-(-rows // block), columns)
    naive = np.empty_like(matrix)
    for start in range(0, rows, block):
        part = matrix[start : start + block]
        low, high = np.minimum(part.min(axis=0), 0), np.maximum(part.max(axis=0), 0)
        scale = (high - low) / ((1 << bits) - 1)
        zero = np.rint(-low / scale)
        naive[start : start + block] = (np.clip(np.rint(part / scale) + zero, 0, (1 << bits) - 1) - zero) * scale
    assert ((grid.dense() - matrix) ** 2).sum() <= ((naive - matrix) ** 2).sum() * (1 + 1e-5) + 1e-9


@pytest.mark.parametrize(
    "book", [[0.0], [0.0, 0.0], [3.5], [-1.0, 1.0], [-0.5, 0.0, 0.5], [0.1 * i - 0.7 for i in range(16)]]
)
def test_grids_are_recognized(book: list[float]) -> None:
    values = np.array(book, np.float32)
    found = codebook_grid(values, 4)
    assert found is not None
    q, scale, zero = found
    assert np.allclose((q.astype(int) - zero) * scale, values, atol=1e-6)


def test_other_codebooks_are_not_taken_for_grids() -> None:
    assert codebook_grid(normal_book(), 4) is None
    assert codebook_grid(np.arange(17, dtype=np.float32), 4) is None  # one step too many
    assert codebook_grid(np.array([0, 1, 2.5], np.float32), 2) is None
