"""Every tensor of an ONNX model, wherever it stands: initializers, Constant nodes, subgraphs, functions, attributes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto


@dataclass(frozen=True)
class Site:
    """One tensor and its place. `label`: the name that people know it by; not unique in a model.

    kind: initializer, constant (the value of a Constant node), attribute (a tensor in another node's attribute) or
    sparse (values or indices of a sparse tensor). `value`: the name that nodes read it under, "" for an attribute.
    `graph`: the graph whose initializer or node it is, None inside functions and training graphs.
    """

    tensor: TensorProto
    label: str
    kind: str
    value: str = ""
    graph: GraphProto | None = None


def sites(model: ModelProto) -> Iterator[Site]:
    """All of a model's tensors, always in the same order: main graph first, depth first into subgraphs."""
    yield from _of_graph(model.graph)
    for function in model.functions:
        yield from _of_nodes(function.node, None)
        for attribute in function.attribute_proto:
            yield from _of_attribute(attribute, f"{function.name}.{attribute.name}", "attribute", "", None)
    for training in model.training_info:
        for graph in (training.initialization, training.algorithm):
            yield from _of_graph(graph)


def subgraphs(node: NodeProto) -> Iterator[GraphProto]:
    """The graphs in a node's attributes: the branches of If, the body of Loop and Scan."""
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            yield attribute.g
        yield from attribute.graphs


def _of_graph(graph: GraphProto) -> Iterator[Site]:
    for tensor in graph.initializer:
        yield Site(tensor, tensor.name, "initializer", tensor.name, graph)
    for sparse in graph.sparse_initializer:
        yield from _of_sparse(sparse, sparse.values.name, sparse.values.name, graph)
    yield from _of_nodes(graph.node, graph)


def _of_nodes(nodes: object, graph: GraphProto | None) -> Iterator[Site]:
    for node in nodes:  # type: ignore[attr-defined]
        constant = node.op_type == "Constant" and node.domain in ("", "ai.onnx") and len(node.output) == 1
        output = node.output[0] if node.output else ""
        for attribute in node.attribute:
            label = output if constant else f"{node.name or output or node.op_type}.{attribute.name}"
            kind = "constant" if constant else "attribute"
            yield from _of_attribute(attribute, label, kind, output if constant else "", graph)


def _of_attribute(
    attribute: AttributeProto, label: str, kind: str, value: str, graph: GraphProto | None
) -> Iterator[Site]:
    if attribute.HasField("t"):
        yield Site(attribute.t, label, kind, value, graph)
    for tensor in attribute.tensors:
        yield Site(tensor, label, "attribute", "", graph)
    if attribute.HasField("sparse_tensor"):
        yield from _of_sparse(attribute.sparse_tensor, label, value, graph)
    for sparse in attribute.sparse_tensors:
        yield from _of_sparse(sparse, label, "", graph)
    for inner in (*((attribute.g,) if attribute.HasField("g") else ()), *attribute.graphs):
        yield from _of_graph(inner)


def _of_sparse(sparse: onnx.SparseTensorProto, label: str, value: str, graph: GraphProto | None) -> Iterator[Site]:
    yield Site(sparse.values, f"{label}.values", "sparse", value, graph)
    yield Site(sparse.indices, f"{label}.indices", "sparse", value, graph)
