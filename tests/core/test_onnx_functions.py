"""Weights in model-local functions: found through calls, shared, given back in place, and looked up there."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import FunctionProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from qacomp.api import compress
from qacomp.exporting.decode import decode_file
from qacomp.exporting.onnx_options import OnnxOptions
from qacomp.graphs import read_onnx
from qacomp.graphs.roles import Role, roles
from qacomp.graphs.scopes import make_distinct
from qacomp.graphs.skeleton import slots
from qacomp.graphs.values import DATA_FIELDS
from qacomp.graphs.walk import sites
from qacomp.options.config import CompressConfig
from qacomp.result import Result
from qacomp.runtime.session import open_session

RNG = np.random.default_rng(0)
FLOAT = TensorProto.FLOAT
OPSETS = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]


def weights(*shape: int) -> NDArray[Any]:
    return RNG.standard_normal(shape).astype(np.float32)


def constant(name: str, array: NDArray[Any]) -> NodeProto:
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(array))


def function(name: str, inputs: Sequence[str], outputs: Sequence[str], *nodes: NodeProto, **more: Any) -> FunctionProto:
    return helper.make_function("local", name, inputs, outputs, nodes, more.pop("opsets", OPSETS), **more)


def call(name: str, inputs: Sequence[str], outputs: Sequence[str], **more: Any) -> NodeProto:
    return helper.make_node(name, inputs, outputs, domain="local", **more)


def model_of(
    nodes: Sequence[NodeProto],
    initializers: dict[str, NDArray[Any]],
    functions: Sequence[FunctionProto],
    inputs: Sequence[Any] = ("n", 16),
    ir: int = 10,
    opsets: Sequence[onnx.OperatorSetIdProto] = OPSETS,
) -> ModelProto:
    graph = helper.make_graph(
        nodes,
        "main",
        [helper.make_tensor_value_info("x", FLOAT, inputs)],
        [helper.make_tensor_value_info("y", FLOAT, ["r", "c"])],
        [numpy_helper.from_array(value, name) for name, value in initializers.items()],
    )
    model = helper.make_model(graph, opset_imports=opsets, ir_version=ir, functions=functions)
    onnx.checker.check_model(model)
    return model


def modules() -> ModelProto:
    """As exporters of modules make it: Linear gets its weights from the main graph, Block holds its own in Constants.

    Block calls Linear, has an If whose branches hold weights, and a value of the name that another function has too.
    """

    def branch(name: str) -> onnx.GraphProto:
        nodes = [helper.make_node("MatMul", ["h", "v"], ["out"])]
        output = helper.make_tensor_value_info("out", FLOAT, ["r", "c"])
        return helper.make_graph(nodes, name, [], [output], [numpy_helper.from_array(weights(24, 24), "v")])

    linear = function(
        "Linear",
        ["x", "w", "b"],
        ["y"],
        helper.make_node("Transpose", ["w"], ["t"], perm=[1, 0]),
        helper.make_node("MatMul", ["x", "t"], ["p"]),
        helper.make_node("Add", ["p", "b"], ["y"]),
    )
    block = function(
        "Block",
        ["x", "outer"],
        ["y"],
        constant("w", weights(24, 20)),
        constant("bias", weights(24)),
        constant("limit", np.zeros((), np.float32)),
        call("Linear", ["x", "w", "bias"], ["h"]),
        helper.make_node("ReduceSum", ["h"], ["total"], keepdims=0),
        helper.make_node("Greater", ["total", "limit"], ["positive"]),
        helper.make_node("If", ["positive"], ["i"], then_branch=branch("a"), else_branch=branch("b")),
        call("Head", ["i", "outer"], ["y"]),
    )
    head = function(
        "Head", ["x", "outer"], ["y"],
        constant("w", weights(24, 32)), helper.make_node("MatMul", ["x", "w"], ["p"]),
        helper.make_node("MatMul", ["p", "outer"], ["y"]),
    )  # fmt: skip
    nodes = [call("Linear", ["x", "first", "shift"], ["p"]), call("Block", ["p", "last"], ["y"])]
    return model_of(
        nodes, {"first": weights(20, 16), "shift": weights(20), "last": weights(32, 16)}, [linear, block, head]
    )


def packed(model: ModelProto, folder: Path, **settings: Any) -> tuple[Result, ModelProto]:
    (folder / "m.onnx").write_bytes(model.SerializeToString())
    size = {} if "include" in settings else {"min_size": 64}
    config = CompressConfig(k=4, stored_precision="exact").with_settings(size | settings, "test")
    result = compress(read_onnx(folder / "m.onnx"), None, config, folder / "m.qac")
    done = decode_file(folder / "m.qac", folder / "back.onnx")
    assert done.max_abs_error == 0
    return result, onnx.load(folder / "back.onnx")


def shared_names(result: Result) -> set[str]:
    return {layer.name for layer in result.layers if layer.k is not None}


def without(model: ModelProto, names: set[str]) -> bytes:
    copy = ModelProto.FromString(model.SerializeToString())
    for slot in slots(list(sites(copy))):
        if slot.name in names:
            for field in DATA_FIELDS:
                slot.site.tensor.ClearField(field)
    return bytes(copy.SerializeToString(deterministic=True))


def found_roles(model: ModelProto) -> dict[str, list[Role]]:
    found = slots(list(sites(model)))
    return {s.name: use for s, use in zip(found, roles(model, [slot.site for slot in found]), strict=True)}


def outputs(model: ModelProto | Path, width: int = 16) -> list[NDArray[Any]]:
    x = np.random.default_rng(1).standard_normal((3, width)).astype(np.float32)
    return [open_session(model, threads=1).run(None, {"x": sign * x})[0] for sign in (1, -1)]


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


def test_weights_in_functions_are_shared_and_the_rest_comes_back_byte_for_byte(tmp_path: Path) -> None:
    model = modules()
    result, back = packed(model, tmp_path)
    names = {"first", "last", "v#1", "v#2", "w#1", "w#2"}
    assert shared_names(result) == names
    assert without(back, names) == without(model, names) != without(model, set())
    assert result.agreement is not None and 0 < (result.agreement.cosine or 0) < 1
    reasons = {layer.name: layer.chosen or layer.skipped for layer in result.layers}
    assert reasons["w#2"] == "weight of MatMul, 768 values"
    assert "two dimensions" in str(reasons["shift"])
    onnx.checker.check_model(back)
    rounded, _ = packed(model, tmp_path, stored_precision="fp16")
    assert {x.name for x in rounded.layers if "rounded to fp16" in str(x.skipped)} == {"shift", "bias"}


def test_names_find_them_like_all_others(tmp_path: Path) -> None:
    assert shared_names(packed(modules(), tmp_path, include=("w#2",))[0]) == {"w#2"}
    assert shared_names(packed(modules(), tmp_path, exclude=("w*", "v#?"))[0]) == {"first", "last"}


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


def test_weights_in_training_graphs_stay_as_they_are(tmp_path: Path) -> None:
    model = modules()
    step = helper.make_graph(
        [helper.make_node("MatMul", ["g", "t"], ["u"])],
        "step",
        [],
        [helper.make_tensor_value_info("u", FLOAT, ["r", "c"])],
        [numpy_helper.from_array(weights(32, 32), "t")],
    )
    model.training_info.add().algorithm.CopyFrom(step)
    result, back = packed(model, tmp_path, include=("t", "first"))
    assert back.training_info == model.training_info and shared_names(result) == {"first"}
    assert next(x for x in result.layers if x.name == "t").skipped == "inside a training graph: kept exactly"


@pytest.mark.parametrize("k", [2, 3, 16, 40])
def test_look_ups_stand_in_the_functions_and_give_the_dense_files_outputs(k: int, tmp_path: Path) -> None:
    packed(modules(), tmp_path, k=k, include=("[vw]#?", "first", "last"))
    done = decode_file(tmp_path / "m.qac", tmp_path / "lut.onnx", onnx=OnnxOptions("lut"))
    assert done.onnx is not None and done.max_abs_error == 0
    assert {t.name: t.form for t in done.onnx.tensors} == dict.fromkeys(
        ["first", "last", "v#1", "v#2", "w#1", "w#2"], "lut"
    ), [t.reason for t in done.onnx.tensors]
    lut, dense = onnx.load(tmp_path / "lut.onnx"), onnx.load(tmp_path / "back.onnx")
    onnx.checker.check_model(lut, full_check=True)
    for a, b in zip(outputs(lut), outputs(dense), strict=True):
        assert np.array_equal(a, b)
    assert not any(s.tensor.dims == [24, 32] and s.tensor.data_type == FLOAT for s in sites(lut))
    assert {t.name for t in lut.graph.initializer if not t.name.startswith("c")} == {"shift"}
    assert (tmp_path / "lut.onnx").stat().st_size < 0.75 * (tmp_path / "back.onnx").stat().st_size


def test_what_is_allowed_in_a_function_is_up_to_its_own_opset(tmp_path: Path) -> None:
    """Packed 4-bit integers where the function's opset has them, a table of digits where the main graph's hasn't."""
    for opset, detail in ((17, "2 indices a byte"), (21, "uint4 indices")):
        opsets = [helper.make_opsetid("", opset), helper.make_opsetid("local", 1)]
        body = [constant("w", weights(64, 64)), helper.make_node("MatMul", ["x", "w"], ["y"])]
        inner = function("F", ["x"], ["y"], *body, opsets=opsets)
        model = model_of([call("F", ["x"], ["y"])], {}, [inner], ("n", 64), opsets=opsets)
        packed(model, tmp_path, k=16)
        done = decode_file(tmp_path / "m.qac", tmp_path / "lut.onnx", onnx=OnnxOptions("lut"))
        assert done.onnx is not None and [t.detail for t in done.onnx.tensors] == [detail]
        lut = onnx.load(tmp_path / "lut.onnx")
        assert not lut.graph.initializer and lut.functions[0].opset_import == inner.opset_import
        for a, b in zip(outputs(lut, 64), outputs(tmp_path / "back.onnx", 64), strict=True):
            assert np.array_equal(a, b)


def test_affine_says_that_a_function_keeps_its_weights(tmp_path: Path) -> None:
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("local", 1)]
    body = [constant("w", weights(64, 64)), helper.make_node("MatMul", ["x", "w"], ["y"])]
    inner = function("F", ["x"], ["y"], *body, opsets=opsets)
    nodes = [helper.make_node("MatMul", ["x", "v"], ["h"]), call("F", ["h"], ["y"])]
    packed(model_of(nodes, {"v": weights(64, 64)}, [inner], ("n", 64), opsets=opsets), tmp_path, k=16)
    done = decode_file(tmp_path / "m.qac", tmp_path / "affine.onnx", onnx=OnnxOptions("affine"))
    assert done.onnx is not None
    assert {t.name: t.form for t in done.onnx.tensors} == {"v": "affine", "w": "lut"}
    assert "w: lut, it is inside a local function, and only products of the graph itself are converted" in done.notes


@pytest.mark.parametrize("make", [modules])
def test_values_of_one_name_become_distinct_and_nothing_else_changes(make: Callable[[], ModelProto]) -> None:
    model, twin = make(), make()
    twin.CopyFrom(model)
    make_distinct(twin, {"p"}, {})
    assert twin.graph == model.graph  # whose p keeps its name, and only functions have others
    assert [f.node[1].output[0] for f in (twin.functions[0], twin.functions[2])] == ["p#1", "p#2"]
    make_distinct(twin, {"w", "y", "x"}, {})
    onnx.checker.check_model(twin)
    assert [v.name for v in twin.graph.output] == ["y"] and list(twin.functions[0].input) != ["x", "w", "b"]
    for a, b in zip(outputs(twin), outputs(model), strict=True):
        assert np.array_equal(a, b)
    again = ModelProto.FromString(model.SerializeToString())
    make_distinct(again, {"first", "nobody's"}, {})
    assert again == model
