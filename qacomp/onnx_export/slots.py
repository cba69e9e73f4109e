"""Where a model's weights stand: initializers and Constant nodes, in the main graph and in every subgraph."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx


@dataclass(frozen=True)
class Slot:
    """One constant tensor: in `graph`, as an initializer, or as the value of the Constant node `node`."""

    graph: onnx.GraphProto
    tensor: onnx.TensorProto
    node: onnx.NodeProto | None = None

    @property
    def name(self) -> str:
        """The value's name in the graph."""
        name: str = self.tensor.name if self.node is None else self.node.output[0]
        return name


def graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """The graph and all of its subgraphs, outer ones first."""
    yield graph
    for node in graph.node:
        for inner in subgraphs(node):
            yield from graphs(inner)


def subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """Those that stand in the node's attributes: branches, bodies of loops."""
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield attribute.g
        yield from attribute.graphs


def slots(model: onnx.ModelProto) -> Iterator[Slot]:
    """Every initializer and every Constant node with a tensor value; not those inside local functions."""
    for graph in graphs(model.graph):
        for tensor in graph.initializer:
            yield Slot(graph, tensor)
        for node in graph.node:
            if node.op_type == "Constant" and node.domain in ("", "ai.onnx"):
                for attribute in node.attribute:
                    if attribute.name == "value" and attribute.type == onnx.AttributeProto.TENSOR:
                        yield Slot(graph, attribute.t, node)


def default_opset(model: onnx.ModelProto) -> int:
    """Version of the default operator set, 0 where the model imports none."""
    return max((i.version for i in model.opset_import if i.domain in ("", "ai.onnx")), default=0)


def value_names(model: onnx.ModelProto) -> set[str]:
    """Every name of a value anywhere in the model's graphs."""
    names: set[str] = set()
    for graph in graphs(model.graph):
        names.update(v.name for v in (*graph.input, *graph.output, *graph.initializer))
        names.update(s.values.name for s in graph.sparse_initializer)
        for node in graph.node:
            names.update(node.input)
            names.update(node.output)
    return names
