"""Where a model's weights stand: initializers and Constant nodes, in the main graph, in functions and in subgraphs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import onnx

from qacomp.graphs.readers import defined_names
from qacomp.graphs.walk import Scope, nested

Home: TypeAlias = onnx.ModelProto | onnx.FunctionProto
"""What says which operator sets its nodes are of: the model for its graphs, a function for its body."""


@dataclass(frozen=True)
class Constant:
    """One constant tensor: in `scope`, as an initializer, or as the value of the Constant node `node`."""

    scope: Scope
    tensor: onnx.TensorProto
    home: Home
    node: onnx.NodeProto | None = None

    @property
    def name(self) -> str:
        """Return the value's name in the graph."""
        name: str = self.tensor.name if self.node is None else self.node.output[0]
        return name


def scopes(model: onnx.ModelProto) -> Iterator[tuple[Home, Scope]]:
    """Yield the main graph, every function's body, and their subgraphs, each with what says their operator sets."""
    yield from ((model, scope) for scope in nested(model.graph))
    for function in model.functions:
        yield from ((function, scope) for scope in nested(function))


def constants(model: onnx.ModelProto) -> Iterator[Constant]:
    """Yield every initializer and every Constant node with a tensor value, those inside local functions among them."""
    for home, scope in scopes(model):
        for tensor in scope.initializer if isinstance(scope, onnx.GraphProto) else ():
            yield Constant(scope, tensor, home)
        for node in scope.node:
            if node.op_type == "Constant" and node.domain in ("", "ai.onnx"):
                for attribute in node.attribute:
                    if (
                        attribute.name == "value"
                        and attribute.type == onnx.AttributeProto.TENSOR
                        and attribute.HasField("t")
                    ):
                        yield Constant(scope, attribute.t, home, node)


def default_opset(home: Home) -> int:
    """Return the version of the default operator set, 0 where the model, or the function, imports none."""
    return max((i.version for i in home.opset_import if i.domain in ("", "ai.onnx")), default=0)


def value_names(model: onnx.ModelProto) -> set[str]:
    """Return every name of a value anywhere in the model's graphs and functions."""
    names: set[str] = set()
    for _, scope in scopes(model):
        names |= defined_names(scope)
        if isinstance(scope, onnx.GraphProto):
            names.update(v.name for v in scope.output)
        else:
            names.update(scope.output)
        for node in scope.node:
            names.update(node.input)
            names.update(node.output)
    return names
