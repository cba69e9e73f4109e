"""The error of a tensor at its operator: against numpy, without biases, in branches, behind casts; its worst reader."""

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from qacomp.graphs.twins import with_twins
from qacomp.runtime.operator_error import WEIGHTS, decibels, weight_error
from qacomp.runtime.operator_errors import OperatorErrors

RNG = np.random.default_rng(0)


def model(nodes: list[Any], tensors: dict[str, Any], x: list[int], functions: list[Any] | None = None) -> Any:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(v, n) for n, v in tensors.items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8, functions=functions or [])


def floats(*shape: int) -> Any:
    return RNG.standard_normal(shape).astype(np.float32)


def relative(a: Any, b: Any) -> float:
    return float(10 * np.log10(((a - b) ** 2).sum() / (a**2).sum()))


def measured(proto: onnx.ModelProto, before: dict[str, Any], after: dict[str, Any], *feeds: Any) -> Any:
    errors = OperatorErrors(proto, {name: name for name in before}, [{"x": f} for f in feeds])
    return errors(before, after)


def test_a_product_and_a_convolution_against_numpy() -> None:
    w, v, x = floats(8, 6), floats(6, 5), floats(4, 8)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["m"]),
        helper.make_node("Tanh", ["m"], ["t"]),
        helper.make_node("Gemm", ["t", "v", "big"], ["y"]),
    ]
    proto = model(nodes, {"w": w, "v": v, "big": np.full(5, 1000, np.float32)}, [4, 8])
    after = {"w": w + 0.1 * floats(8, 6), "v": v + 0.1 * floats(6, 5)}
    found = measured(proto, {"w": w, "v": v}, after, x)
    assert found["w"].db == pytest.approx(relative(x @ w, x @ after["w"]), abs=1e-3) and found["w"].of == "MatMul"
    t = np.tanh(x @ w)  # as it occurs in the original
    assert found["v"].db == pytest.approx(relative(t @ v, t @ after["v"]), abs=1e-3)  # without its bias of 1000


def test_one_session_takes_many_weights() -> None:
    w, x = floats(8, 6), floats(4, 8)
    proto = model([helper.make_node("MatMul", ["x", "w"], ["y"])], {"w": w}, [4, 8])
    errors = OperatorErrors(proto, {"w": "w"}, [{"x": x}, {"x": 2 * x}])
    small, large = (errors({"w": w}, {"w": w + s * np.float32(1)})["w"].db for s in (0.01, 0.1))
    assert large - small == pytest.approx(20, abs=1e-2)
    assert errors({"w": w}, {"w": w})["w"].db == -200


@pytest.mark.parametrize(
    ("op", "shape", "attributes"),
    [
        ("Conv", (6, 3, 3, 3), {"strides": [2, 2]}),
        ("Conv", (6, 1, 3, 3), {"group": 3}),
        ("ConvTranspose", (3, 5, 2, 2), {"strides": [2, 2]}),
    ],
)
def test_convolutions_of_all_kinds(op: str, shape: tuple[int, ...], attributes: dict[str, Any]) -> None:
    import onnxruntime

    w, x = floats(*shape), floats(1, 3, 9, 9)
    other = w + 0.1 * floats(*shape)

    def run(weight: Any) -> Any:
        proto = model([helper.make_node(op, ["x", "w"], ["y"], **attributes)], {"w": weight}, [1, 3, 9, 9])
        return onnxruntime.InferenceSession(proto.SerializeToString()).run(None, {"x": x})[0]

    proto = model([helper.make_node(op, ["x", "w"], ["y"], **attributes)], {"w": w}, [1, 3, 9, 9])
    assert measured(proto, {"w": w}, {"w": other}, x)["w"].db == pytest.approx(relative(run(w), run(other)), abs=1e-2)


def test_recurrent_operators_and_tables() -> None:
    w, r, table = floats(1, 16, 6), floats(1, 16, 4), floats(20, 6)
    nodes = [
        helper.make_node("Cast", ["x"], ["i"], to=TensorProto.INT64),
        helper.make_node("Gather", ["table", "i"], ["e"]),
        helper.make_node("LSTM", ["e", "w", "r"], ["", "h"], hidden_size=4),
        helper.make_node("Identity", ["h"], ["y"]),
    ]
    before = {"w": w, "r": r, "table": table}
    proto = model(nodes, before, [5, 1])
    x = np.array([[1], [2], [3], [4], [5]], np.float32)
    found = measured(proto, before, {n: v + np.float32(0.1) * floats(*v.shape) for n, v in before.items()}, x)
    assert {n: e.of for n, e in found.items()} == {"w": "LSTM", "r": "LSTM", "table": "Gather"}
    assert all(-60 < e.db < 0 for e in found.values())
    only = {"table": np.where(np.arange(20)[:, None] == 19, 100.0, table).astype(np.float32)}
    assert measured(model(nodes, before, [5, 1]), before, only, x)["table"].db == -200  # a row that nobody asks for


def test_a_weight_behind_casts_and_transposes_and_the_worst_of_its_readers() -> None:
    w, x = floats(6, 8), floats(4, 8)
    nodes = [
        helper.make_node("Transpose", ["w"], ["wt"], perm=[1, 0]),
        helper.make_node("MatMul", ["x", "wt"], ["m"]),
        helper.make_node("MatMul", ["m", "w"], ["y"]),
    ]
    other = w.copy()
    other[0] += 1
    found = measured(model(nodes, {"w": w}, [4, 8]), {"w": w}, {"w": other}, x)["w"]
    m = x @ w.T
    both = relative(x @ w.T, x @ other.T), relative(m @ w, m @ other)
    assert found.db == pytest.approx(max(both), abs=1e-3)


def test_a_weight_whose_parts_are_put_in_another_order() -> None:
    """Cut, and put together behind another weight, as the gates of exported recurrent operators are."""
    w, v, x = floats(8, 6), floats(8, 3), floats(4, 8)
    cuts = {"a": np.array([0]), "b": np.array([2]), "c": np.array([6]), "axis": np.array([1])}
    nodes = [
        helper.make_node("Slice", ["w", "a", "b", "axis"], ["left"]),
        helper.make_node("Slice", ["w", "b", "c", "axis"], ["right"]),
        helper.make_node("Concat", ["v", "right", "left"], ["turned"], axis=1),
        helper.make_node("MatMul", ["x", "turned"], ["y"]),
    ]
    other = w + 0.1 * floats(8, 6)
    found = measured(model(nodes, {"w": w, "v": v, **cuts}, [4, 8]), {"w": w}, {"w": other}, x)["w"]
    whole, changed = (x @ np.concatenate([v, a[:, 2:], a[:, :2]], 1) for a in (w, other))
    assert found.of == "MatMul" and found.db == pytest.approx(relative(whole, changed), abs=1e-3)


def test_branches_are_reached_and_loops_are_not() -> None:
    w, v, x = floats(8, 8), floats(8, 8), floats(4, 8)
    out = helper.make_tensor_value_info("b", TensorProto.FLOAT, None)
    taken = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["b"])], "t", [], [out], [numpy_helper.from_array(w, "w")]
    )
    other = helper.make_graph(
        [helper.make_node("MatMul", ["x", "v"], ["b"])], "e", [], [out], [numpy_helper.from_array(v, "v")]
    )
    nodes = [
        helper.make_node("Greater", ["n", "zero"], ["c"]),
        helper.make_node("If", ["c"], ["y"], then_branch=taken, else_branch=other),
    ]
    tensors = {"n": np.array(1, np.float32), "zero": np.array(0, np.float32)}
    before = {"w": w, "v": v}
    after = {n: a + np.float32(0.1) * floats(8, 8) for n, a in before.items()}
    found = measured(model(nodes, tensors, [4, 8]), before, after, x)
    assert found["w"].of == "MatMul" and found["w"].db == pytest.approx(relative(x @ w, x @ after["w"]), abs=1e-3)
    assert found["v"] == weight_error(v, after["v"]) and found["v"].of == WEIGHTS  # that branch isn't taken


def test_weights_that_functions_get_from_outside() -> None:
    w, x = floats(8, 6), floats(4, 8)
    body = [helper.make_node("MatMul", ["a", "b"], ["c"])]
    product = helper.make_function("own", "Product", ["a", "b"], ["c"], body, [helper.make_opsetid("", 17)])
    proto = model([helper.make_node("Product", ["x", "w"], ["y"], domain="own")], {"w": w}, [4, 8], [product])
    found = measured(proto, {"w": w}, {"w": w + np.float32(0.1)}, x)["w"]
    assert found.of == "MatMul" and found.db == pytest.approx(relative(x @ w, x @ (w + np.float32(0.1))), abs=1e-3)


def test_what_no_operator_reads_has_no_probe() -> None:
    w = floats(8, 8)
    proto = model([helper.make_node("Relu", ["x"], ["y"])], {"w": w}, [4, 8])
    assert with_twins(proto, ["w", "absent"]).probes == ()
    found = measured(proto, {"w": w}, {"w": 2 * w}, floats(4, 8))["w"]
    assert found.of == WEIGHTS and found.db == pytest.approx(0)


def test_decibels() -> None:
    assert decibels(1, 100) == pytest.approx(-20) and decibels(0, 1) == -200
    assert decibels(0, 0) == -200 and decibels(1, 0) == 0
