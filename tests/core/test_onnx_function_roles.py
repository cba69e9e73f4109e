"""What weights in model-local functions are for: roles are followed through calls, or left open."""

import numpy as np
import onnx
from local_functions import call, constant, function, model_of, modules, weights
from onnx import ModelProto, helper

from qacomp.graphs.roles import Role, roles
from qacomp.graphs.skeleton import slots
from qacomp.graphs.walk import sites


def found_roles(model: ModelProto) -> dict[str, list[Role]]:
    found = slots(list(sites(model)))
    return {s.name: use for s, use in zip(found, roles(model, [slot.site for slot in found]), strict=True)}


def test_roles_are_those_of_the_functions_nodes() -> None:
    """Also through a call of a call, a subgraph of a body, and an input that the main graph fills."""
    product = [Role("MatMul", "weight", 1)]
    assert found_roles(modules()) == {
        "first": [Role("MatMul", "weight", 0)],  # behind a Transpose
        "shift": [Role("Add", "bias")],
        "last": product,
        "w#1": [Role("MatMul", "weight", 0)],
        "bias": [Role("Add", "bias")],
        "v#1": product,
        "v#2": product,
        "w#2": product,
    }


def test_functions_differ_by_their_overload() -> None:
    by_matmul = function("F", ["x", "w"], ["y"], helper.make_node("MatMul", ["x", "w"], ["y"]))
    by_add = function("F", ["x", "w"], ["y"], helper.make_node("Add", ["x", "w"], ["y"]))
    by_add.overload = "table"
    nodes = [call("F", ["x", "a"], ["h"]), call("F", ["h", "b"], ["y"], overload="table")]
    found = found_roles(model_of(nodes, {"a": weights(16, 24), "b": weights(1, 24)}, [by_matmul, by_add]))
    assert found == {"a": [Role("MatMul", "weight", 1)], "b": [Role("Add", "value")]}


def test_a_function_goes_before_the_operator_whose_name_it_has() -> None:
    inner = function("Conv", ["x", "w"], ["y"], helper.make_node("MatMul", ["w", "x"], ["y"]))
    found = found_roles(model_of([call("Conv", ["x", "w"], ["y"])], {"w": weights(8, 16)}, [inner], ("16", 16)))
    assert found == {"w": [Role("MatMul", "weight", 0)]}


def test_a_weight_that_a_function_gives_back_is_followed_to_where_it_is_called() -> None:
    """As an input only to its own call's output, as a constant to every call's."""
    turned = function("Turned", ["w"], ["t"], helper.make_node("Transpose", ["w"], ["t"], perm=[1, 0]))
    own = function("Own", [], ["w"], constant("w", weights(16, 16)))
    nodes = [
        call("Turned", ["a"], ["ta"]),
        call("Turned", ["b"], ["tb"]),
        call("Own", [], ["c"]),
        helper.make_node("MatMul", ["x", "ta"], ["h"]),
        helper.make_node("MatMul", ["h", "c"], ["i"]),
        helper.make_node("Gather", ["tb", "place"], ["row"]),
        helper.make_node("Add", ["i", "row"], ["y"]),
    ]
    initializers = {"a": weights(16, 16), "b": weights(16, 24), "place": np.array(3)}
    assert found_roles(model_of(nodes, initializers, [turned, own])) == {
        "a": [Role("MatMul", "weight", 0)],
        "b": [Role("Add", "value")],  # a row at a place that no input tells
        "w": [Role("MatMul", "weight", 1)],
    }


def test_calls_that_cannot_be_followed_are_treated_like_unknown_operators() -> None:
    """A function that calls itself, one with fewer inputs than its call, and too many calls of calls."""
    endless = function("Endless", ["x", "w"], ["y"], call("Endless", ["x", "w"], ["y"]))
    short = function("Short", ["x"], ["y"], helper.make_node("Identity", ["x"], ["y"]))
    deep = [
        function(f"D{i}", ["w"], ["y"], *(call(f"D{i + 1}", ["w"], ["y" if j == 0 else f"v{j}"]) for j in range(20)))
        for i in range(20)
    ]
    deep.append(function("D20", ["w"], ["y"], helper.make_node("Identity", ["w"], ["y"])))
    model = modules()
    del model.functions[:]
    model.functions.extend([endless, short, *deep])
    model.graph.ClearField("node")
    model.graph.node.extend([
        call("Endless", ["x", "first"], ["a"]), call("Short", ["a", "last"], ["b"]), call("D0", ["shift"], ["y"])
    ])  # fmt: skip
    found = found_roles(model)
    assert found["first"] == [Role("local.Endless", "unknown")]
    assert found["last"] == [Role("local.Short", "unknown")]
    assert len(found["shift"]) < 100


def test_an_attribute_that_the_caller_gives_leaves_the_axis_open() -> None:
    gemm = helper.make_node("Gemm", ["x", "w"], ["y"])
    gemm.attribute.append(onnx.AttributeProto(name="transB", type=onnx.AttributeProto.INT, ref_attr_name="turned"))
    dense = function("Dense", ["x", "w"], ["y"], gemm, attributes=["turned"])
    model = model_of([call("Dense", ["x", "w"], ["y"], turned=1)], {"w": weights(24, 16)}, [dense])
    assert found_roles(model) == {"w": [Role("Gemm", "weight", None)]}
