"""Find a model's constant tensors: initializers and Constant nodes, in the main graph, functions and subgraphs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import onnx

from qacomp.graphs.readers import defined_names
from qacomp.graphs.walk import Scope, nested

Home: TypeAlias = onnx.ModelProto | onnx.FunctionProto
"""The object with the operator sets of the nodes: the model for its graphs, a function for its body."""


@dataclass(frozen=True)
class Constant:
    """One constant tensor in `scope`: an initializer, or the value of the Constant node `node`."""

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
    """Yield (home, scope) for the main graph, every function's body and all their subgraphs."""
    yield from ((model, scope) for scope in nested(model.graph))
    for function in model.functions:
        yield from ((function, scope) for scope in nested(function))


def constants(model: onnx.ModelProto) -> Iterator[Constant]:
    """Yield every initializer and every Constant node with a tensor value, also those inside local functions."""
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
    """Return the version of the default operator set; 0 if the model or function imports none."""
    return max((i.version for i in home.opset_import if i.domain in ("", "ai.onnx")), default=0)


def value_names(model: onnx.ModelProto) -> set[str]:
    """Return the names of all values in the model's graphs and functions."""
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
