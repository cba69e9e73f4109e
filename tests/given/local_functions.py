"""ONNX models with model-local functions, and the roles that are found in them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import FunctionProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

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


def outputs(model: ModelProto | Path, width: int = 16) -> list[NDArray[Any]]:
    x = np.random.default_rng(1).standard_normal((3, width)).astype(np.float32)
    return [open_session(model, threads=1).run(None, {"x": sign * x})[0] for sign in (1, -1)]
