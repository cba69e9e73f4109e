"""Graphs made to keep a reader busy: what walks over them in this process stops, or happens in the child."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from qacomp.errors import RunLimitError
from qacomp.exporting.onnx_forms.opset import raise_opset
from qacomp.exporting.onnx_forms.written import written_weights
from qacomp.graphs import inputs
from qacomp.graphs import roles as roles_of
from qacomp.graphs.reading import parse_onnx
from qacomp.graphs.roles import roles
from qacomp.graphs.walk import sites
from qacomp.options.running import RunLimits
from qacomp.runtime.limits import limited_runs
from qacomp.runtime.session import converted_model


def model(nodes: list[onnx.NodeProto], tensors: int = 0, functions: tuple[onnx.FunctionProto, ...] = ()) -> bytes:
    """x (N, 64) -> y; initializers w0, w1, ... (4, 16)."""
    weights = [numpy_helper.from_array(np.zeros((4, 16), np.float32), f"w{i}") for i in range(tensors)]
    ends = [helper.make_tensor_value_info(name, 1, None) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], weights)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("d", 1)]
    made = helper.make_model(graph, opset_imports=opsets, ir_version=8, functions=functions)
    return bytes(made.SerializeToString())


def fan(first: onnx.NodeProto, depth: int) -> list[onnx.NodeProto]:
    """c0 by `first`, then each value read twenty times by the next: 20^depth ways."""
    nodes = [helper.make_node("Concat", [f"c{i}"] * 20, [f"c{i + 1}"], axis=0) for i in range(depth)]
    return [first, *nodes, helper.make_node("MatMul", [f"c{depth}", "x"], ["y"])]


def test_many_tensors_with_many_readers_share_one_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of the 100 by itself visits some 4,000 readers, as long as the limit of one tensor is all there is."""
    searches = []
    made = roles_of._RoleSearch

    def kept(*given: Any) -> roles_of._RoleSearch:
        searches.append(made(*given))
        return searches[-1]

    budget, behind_each = 1 << 12, roles_of._LEAST_STEPS + 13 * 20  # a stopped search still ends the rows it is in
    monkeypatch.setattr(roles_of, "_MOST_STEPS_IN_ALL", budget)
    monkeypatch.setattr(roles_of, "_RoleSearch", kept)
    join = helper.make_node("Concat", [f"w{i}" for i in range(100)], ["c0"], axis=0)
    source = parse_onnx(model(fan(join, 12), 100), Path("m.onnx"), "onnx")
    found = roles(source.model, list(sites(source.model)))
    assert budget < sum(search.steps for search in searches) < budget + 100 * behind_each
    assert len(found) == 100 and all(found)


def test_a_long_row_of_empty_calls_is_no_deep_recursion() -> None:
    """A function that gives its input back: a call spends no operator, and there are 3,000."""
    empty = helper.make_function("d", "f", ["a"], ["a"], [], [helper.make_opsetid("", 17)])
    names = ["x", *(f"o{i}" for i in range(2999)), "y"]
    calls = [helper.make_node("f", [a], [b], domain="d") for a, b in itertools.pairwise(names)]
    proto = onnx.ModelProto.FromString(model(calls, functions=(empty,)))
    assert inputs.input_uses(proto)
    source = parse_onnx(proto.SerializeToString(), Path("m.onnx"), "onnx")
    assert roles(source.model, list(sites(source.model))) == []


def test_a_converter_that_is_kept_busy_is_stopped() -> None:
    twice = [
        helper.make_function(
            "d",
            f"f{i}",
            ["a"],
            ["c"],
            [helper.make_node(f"f{i + 1}", [a], [b], domain="d") for a, b in ("ab", "bc")]
            if i < 23
            else [helper.make_node("Neg", ["a"], ["c"])],
            [helper.make_opsetid("", 17), helper.make_opsetid("d", 1)],
        )
        for i in range(24)
    ]
    data = model([helper.make_node("f0", ["x"], ["y"], domain="d")], functions=tuple(twice))
    with limited_runs(RunLimits(1.0, 10**9)), pytest.raises(RunLimitError, match="--run-limits seconds"):
        converted_model(data, 21)


def test_a_converter_in_the_child_gives_the_newer_opset() -> None:
    proto = onnx.ModelProto.FromString(model([helper.make_node("Reshape", ["x", "s"], ["y"])]))
    proto.graph.initializer.append(numpy_helper.from_array(np.array([-1]), "s"))
    for value in (*proto.graph.input, *proto.graph.output):
        value.CopyFrom(helper.make_tensor_value_info(value.name, 1, ["N"]))
    del proto.opset_import[1:]
    assert raise_opset(proto, 21)
    assert proto.opset_import[0].version == 21


def test_weights_are_made_behind_a_row_of_nodes_of_any_length() -> None:
    names = ["w0", *(f"c{i}" for i in range(3000))]
    row = [helper.make_node("Identity", [a], [b]) for a, b in itertools.pairwise(names)]
    proto = onnx.ModelProto.FromString(model([*row, helper.make_node("MatMul", ["x", names[-1]], ["y"])], 1))
    ((name, made),) = written_weights(proto, {names[-1]: onnx.TensorProto.FLOAT})
    assert name == names[-1] and made.shape == (4, 16)
