"""What ONNX operators multiply their weights with: weight · columns is what onnxruntime gives; moments as in numpy."""

from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from qacomp.calibration.onnx_moments import operator_moments
from qacomp.calibration.operator_inputs import operator_columns, operator_view
from qacomp.graphs.taps import with_taps
from qacomp.runtime.session import open_session

RNG = np.random.default_rng(0)


def floats(*shape: int) -> Any:
    return RNG.standard_normal(shape).astype(np.float32)


def model(nodes: list[Any], tensors: dict[str, Any], x: Any, opset: int = 17) -> ModelProto:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)],
        [helper.make_tensor_value_info("y", TensorProto.UNDEFINED, None)],
        [numpy_helper.from_array(v, n) for n, v in tensors.items()],
    )
    graph.output[0].type.tensor_type.elem_type = helper.np_dtype_to_tensor_dtype(x.dtype)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def rows_first(y: Any, axis: int) -> Any:
    """The values (rows, positions) of an output whose channels run along an axis."""
    return np.moveaxis(y, axis, 0).reshape(y.shape[axis], -1)


CONVOLUTIONS: dict[str, tuple[str, tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "1d": ("Conv", (6, 3, 4), (2, 3, 11), {"strides": [3], "pads": [2, 1]}),
    "2d": ("Conv", (6, 3, 3, 2), (2, 3, 9, 8), {"strides": [2, 1], "pads": [1, 0, 2, 1], "dilations": [1, 2]}),
    "groups": ("Conv", (6, 2, 3, 3), (2, 4, 7, 7), {"group": 2}),
    "depthwise": ("Conv", (4, 1, 3, 3), (2, 4, 7, 7), {"group": 4, "pads": [1, 1, 1, 1]}),
    "same upper": ("Conv", (5, 3, 4, 3), (1, 3, 9, 8), {"auto_pad": "SAME_UPPER", "strides": [2, 3]}),
    "same lower": ("Conv", (5, 3, 4, 4), (1, 3, 9, 8), {"auto_pad": "SAME_LOWER"}),
    "valid": ("Conv", (5, 3, 4, 4), (1, 3, 9, 8), {"auto_pad": "VALID"}),
    "transposed": ("ConvTranspose", (3, 5, 3, 2), (2, 3, 5, 6), {"strides": [2, 3], "pads": [1, 0, 0, 1]}),
    "transposed, 1d": ("ConvTranspose", (3, 5, 4), (2, 3, 6), {"strides": [3], "pads": [2, 1]}),
    "transposed, groups": ("ConvTranspose", (4, 3, 2, 3), (1, 4, 5, 6), {"group": 2, "dilations": [2, 1]}),
    "transposed, padded": ("ConvTranspose", (3, 5, 3, 3), (1, 3, 5, 6), {"strides": [2, 2], "output_padding": [1, 1]}),
    "transposed, sized": ("ConvTranspose", (3, 5, 3, 3), (1, 3, 5, 6), {"strides": [2, 2], "output_shape": [10, 12]}),
    "transposed, same": ("ConvTranspose", (3, 5, 3, 3), (1, 3, 5, 6), {"strides": [2, 2], "auto_pad": "SAME_UPPER"}),
}
PRODUCTS: dict[str, tuple[str, tuple[int, ...], tuple[int, ...], bool, dict[str, Any]]] = {
    "right": ("MatMul", (5, 7), (2, 3, 5), False, {}),
    "right of a vector": ("MatMul", (5, 7), (5,), False, {}),
    "right, an axis more": ("MatMul", (1, 5, 7), (2, 3, 5), False, {}),
    "left": ("MatMul", (7, 5), (2, 5, 3), True, {}),
    "left of a vector": ("MatMul", (7, 5), (5,), True, {}),
    "gemm": ("Gemm", (5, 7), (3, 5), False, {}),
    "gemm, transposed": ("Gemm", (7, 5), (5, 3), False, {"transA": 1, "transB": 1}),
    "gemm, left": ("Gemm", (7, 5), (5, 3), True, {}),
    "gemm, left, transposed": ("Gemm", (5, 7), (3, 5), True, {"transA": 1, "transB": 1}),
}


def made_and_wanted(proto: ModelProto, w: Any, x: Any) -> tuple[Any, Any]:
    """The product of the weight's rows and the columns, (groups, rows, positions), and the model's own output."""
    (y,) = open_session(proto).run(["y"], {"x": x})
    tapped = with_taps(proto, ["w"])
    (tap,) = tapped.taps
    data = open_session(tapped.model).run(list(tap.data), {"x": x})
    view, columns = operator_view(tap, w.shape), operator_columns(tap, w.shape, data)
    assert view is not None and columns is not None
    return view.matrices(w) @ columns.numpy(), y


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_a_convolution_is_its_weight_times_the_columns(name: str) -> None:
    op, shape, sides, attributes = CONVOLUTIONS[name]
    w, x = floats(*shape), floats(*sides)
    made, y = made_and_wanted(model([helper.make_node(op, ["x", "w"], ["y"], **attributes)], {"w": w}, x), w, x)
    wanted = rows_first(y, 1)
    assert np.allclose(made.reshape(wanted.shape), wanted, atol=1e-5)


@pytest.mark.parametrize("name", PRODUCTS)
def test_a_product_is_its_weight_times_the_columns(name: str) -> None:
    op, shape, sides, left, attributes = PRODUCTS[name]
    w, x = floats(*shape), floats(*sides)
    names = ["w", "x"] if left else ["x", "w"]
    made, y = made_and_wanted(model([helper.make_node(op, names, ["y"], **attributes)], {"w": w}, x), w, x)
    wanted = rows_first(y, max(0, y.ndim - 2) if left else y.ndim - 1)
    assert np.allclose(made.reshape(wanted.shape), wanted, atol=1e-5)


def moments_of(nodes: list[Any], tensors: dict[str, Any], x: Any, names: list[str]) -> Any:
    shapes = {name: tensors[name].shape for name in names}
    return operator_moments(model(nodes, tensors, x), shapes, [{"x": x}, {"x": 2 * x}], 0, lambda: None)


def test_a_moment_is_the_mean_over_all_runs_and_readers() -> None:
    w, x = floats(4, 4), floats(3, 4)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("MatMul", ["h", "w"], ["y"])]
    found = moments_of(nodes, {"w": w}, x, ["w"])["w"]
    rows = np.concatenate([x, x @ w, 2 * x, 2 * x @ w]).astype(np.float64)
    assert np.allclose(found.values[0], rows.T @ rows / len(rows), rtol=1e-5)


def test_a_weight_that_others_rearrange_has_the_moment_of_its_own_places() -> None:
    """Cut into rows, put together in another order and transposed: found where the operator reads each value."""
    w, x = floats(6, 4), floats(3, 4)
    cuts = {"a": np.array([0]), "b": np.array([2]), "c": np.array([6])}
    nodes = [
        helper.make_node("Slice", ["w", "a", "b", "a"], ["top"]),
        helper.make_node("Slice", ["w", "b", "c", "a"], ["rest"]),
        helper.make_node("Concat", ["rest", "top"], ["turned"], axis=0),
        helper.make_node("Transpose", ["turned"], ["t"]),
        helper.make_node("MatMul", ["x", "t"], ["y"]),
    ]
    found = moments_of(nodes, {"w": w, **cuts}, x, ["w"])["w"]
    assert np.array_equal(found.view.matrices(w)[0], np.concatenate([w[2:], w[:2]]))
    assert np.array_equal(found.view.tensor(found.view.matrices(w), w.shape), w)
    rows = np.concatenate([x, 2 * x]).astype(np.float64)
    assert np.allclose(found.values[0], rows.T @ rows / len(rows), rtol=1e-5)


def test_more_values_than_half_precision_counts_are_placed() -> None:
    w, x = floats(70, 60).astype(np.float16), floats(2, 60).astype(np.float16)
    nodes = [helper.make_node("Transpose", ["w"], ["t"]), helper.make_node("MatMul", ["x", "t"], ["y"])]
    found = moments_of(nodes, {"w": w}, x, ["w"])["w"]
    assert np.array_equal(found.view.matrices(w)[0], w)


def test_what_other_operators_read_has_no_moment() -> None:
    w, ids, x = floats(9, 4), np.array([1, 2]), floats(3, 4)
    nodes = [
        helper.make_node("Gather", ["w", "ids"], ["rows"]),
        helper.make_node("Transpose", ["rows"], ["t"]),
        helper.make_node("MatMul", ["x", "t"], ["y"]),
    ]
    assert moments_of(nodes, {"w": w, "ids": ids}, x, ["w"]) == {}


def test_a_scaled_weight_has_no_moment() -> None:
    w, x = floats(4, 4), floats(3, 4)
    nodes = [
        helper.make_node("Concat", ["w", "more"], ["both"], axis=1),
        helper.make_node("MatMul", ["x", "both"], ["y"]),
    ]
    assert moments_of(nodes, {"w": w, "more": floats(4, 2)}, x, ["w"]) == {}


def test_weights_in_a_branch_have_the_moments_of_the_runs_that_take_it() -> None:
    w, x = floats(4, 5), floats(3, 4)

    def branch(name: str, weight: str) -> Any:
        node = helper.make_node("Constant", [], [weight], value=numpy_helper.from_array(w))
        product = helper.make_node("MatMul", ["x", weight], [name])
        return helper.make_graph([node, product], name, [], [helper.make_tensor_value_info(name, 1, None)])

    nodes = [
        helper.make_node("ReduceMax", ["x"], ["top"], keepdims=0),
        helper.make_node("Less", ["top", "limit"], ["quiet"]),
        helper.make_node("If", ["quiet"], ["y"], then_branch=branch("a", "w1"), else_branch=branch("b", "w2")),
    ]
    x = x / x.max()  # the second run is twice as loud
    proto = model(nodes, {"limit": np.array(1.5, np.float32)}, x)
    found = operator_moments(proto, {"w1": w.shape, "w2": w.shape}, [{"x": x}, {"x": 2 * x}], 0, lambda: None)
    assert np.allclose(found["w1"].values[0], x.T @ x / 3, rtol=1e-5)
    assert np.allclose(found["w2"].values[0], 4 * x.T @ x / 3, rtol=1e-5)


def test_a_weight_that_two_branches_rearrange_has_the_moment_of_the_one_that_runs() -> None:
    w, x = floats(5, 4), floats(3, 4)

    def branch(name: str) -> Any:
        turned = helper.make_node("Transpose", ["w"], [f"{name}t"])
        product = helper.make_node("MatMul", ["x", f"{name}t"], [name])
        return helper.make_graph([turned, product], name, [], [helper.make_tensor_value_info(name, 1, None)])

    nodes = [
        helper.make_node("ReduceMax", ["x"], ["top"], keepdims=0),
        helper.make_node("Less", ["top", "limit"], ["quiet"]),
        helper.make_node("If", ["quiet"], ["y"], then_branch=branch("a"), else_branch=branch("b")),
    ]
    found = moments_of(nodes, {"w": w, "limit": np.array(1e6, np.float32)}, x, ["w"])["w"]
    assert np.array_equal(found.view.matrices(w)[0], w)
    assert np.allclose(found.values[0], 2.5 * x.T @ x / 3, rtol=1e-5)


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("named", [True, False])
def test_recurrent_weights_meet_the_inputs_and_the_states_before_each_step(direction: str, named: bool) -> None:
    """A plain RNN with a linear activation in numpy; its node has no Y where nobody names one."""
    ways = 2 if direction == "bidirectional" else 1
    w, r = floats(ways, 4, 3), 0.3 * floats(ways, 4, 4)
    x, first = floats(5, 2, 3), floats(ways, 2, 4)
    node = helper.make_node(
        "RNN",
        ["x", "w", "r", "", "", "first"],
        ["all" if named else "", "y"],
        hidden_size=4,
        direction=direction,
        activations=["Affine"] * ways,
        activation_alpha=[1.0] * ways,
        activation_beta=[0.0] * ways,
    )
    proto = model([node], {"w": w, "r": r, "first": first}, x)
    found = operator_moments(proto, {"w": w.shape, "r": r.shape}, [{"x": x}], 0, lambda: None)
    for way in range(ways):
        state, states = first[way].astype(np.float64), []
        for step in range(5)[:: -1 if direction == "reverse" or way else 1]:
            states.append(state)
            state = x[step] @ w[way].T + state @ r[way].T
        rows, before = x.reshape(-1, 3).astype(np.float64), np.concatenate(states)
        assert np.allclose(found["w"].values[way], rows.T @ rows / 10, rtol=1e-4)
        assert np.allclose(found["r"].values[way], before.T @ before / 10, rtol=1e-4)
