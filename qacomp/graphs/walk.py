"""Visit every tensor of an ONNX model: in initializers, Constant nodes, subgraphs, functions and attributes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import onnx
from onnx import AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto

Scope: TypeAlias = GraphProto | FunctionProto
"""A graph or a function: it has nodes, and names of values that aren't visible outside."""


@dataclass(frozen=True)
class Site:
    """One tensor of a model and its place. label: its name for users, which may not be unique.

    kind: "initializer", "constant" (the value of a Constant node), "attribute" (a tensor in an attribute of another
    node) or "sparse" (values or indices of a sparse tensor); value: the name by which nodes read it, "" for an
    attribute; scope: the graph or function that holds it, None inside training graphs.
    """

    tensor: TensorProto
    label: str
    kind: str
    value: str = ""
    scope: Scope | None = None


def sites(model: ModelProto) -> Iterator[Site]:
    """Yield all tensors of a model in a fixed order: the main graph first, depth first into subgraphs."""
    yield from _of_graph(model.graph)
    for function in model.functions:
        yield from _of_nodes(function.node, function)
        for attribute in function.attribute_proto:
            yield from _of_attribute(attribute, f"{function.name}.{attribute.name}", "attribute", "", function)
    for training in model.training_info:
        for graph in (training.initialization, training.algorithm):
            yield from _of_graph(graph, training=True)


def subgraphs(node: NodeProto) -> Iterator[GraphProto]:
    """Yield the graphs in a node's attributes, such as the branches of If and the body of Loop."""
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            yield attribute.g
        yield from attribute.graphs


def graphs(graph: GraphProto) -> Iterator[GraphProto]:
    """Yield a graph and all graphs inside it, outer ones first."""
    yield graph
    for node in graph.node:
        for inner in subgraphs(node):
            yield from graphs(inner)


def nested(scope: Scope) -> Iterator[Scope]:
    """Yield a graph or function, and all graphs inside it, outer ones first."""
    yield scope
    for node in scope.node:
        for inner in subgraphs(node):
            yield from graphs(inner)


def nodes(graph: GraphProto) -> Iterator[NodeProto]:
    """Yield all nodes of a graph and of the graphs inside it."""
    for inner in graphs(graph):
        yield from inner.node


def replace_items(field: Any, values: Sequence[Any]) -> None:
    """Replace the items of a repeated protobuf field by copies of `values`, which may be items of the field."""
    copies = [type(value).FromString(value.SerializeToString()) for value in values]
    del field[:]
    field.extend(copies)


def _of_graph(graph: GraphProto, training: bool = False) -> Iterator[Site]:
    scope = None if training else graph
    for tensor in graph.initializer:
        yield Site(tensor, tensor.name, "initializer", tensor.name, scope)
    for sparse in graph.sparse_initializer:
        yield from _of_sparse(sparse, sparse.values.name, sparse.values.name, scope)
    yield from _of_nodes(graph.node, scope)


def _of_nodes(nodes: Iterable[NodeProto], scope: Scope | None) -> Iterator[Site]:
    for node in nodes:
        constant = node.op_type == "Constant" and node.domain in ("", "ai.onnx") and len(node.output) == 1
        output = node.output[0] if node.output else ""
        for attribute in node.attribute:
            label = output if constant else f"{node.name or output or node.op_type}.{attribute.name}"
            kind = "constant" if constant else "attribute"
            yield from _of_attribute(attribute, label, kind, output if constant else "", scope)


def _of_attribute(attribute: AttributeProto, label: str, kind: str, value: str, scope: Scope | None) -> Iterator[Site]:
    if attribute.HasField("t"):
        yield Site(attribute.t, label, kind, value, scope)
    for tensor in attribute.tensors:
        yield Site(tensor, label, "attribute", "", scope)
    if attribute.HasField("sparse_tensor"):
        yield from _of_sparse(attribute.sparse_tensor, label, value, scope)
    for sparse in attribute.sparse_tensors:
        yield from _of_sparse(sparse, label, "", scope)
    for inner in (*((attribute.g,) if attribute.HasField("g") else ()), *attribute.graphs):
        yield from _of_graph(inner, training=scope is None)


def _of_sparse(sparse: onnx.SparseTensorProto, label: str, value: str, scope: Scope | None) -> Iterator[Site]:
    yield Site(sparse.values, f"{label}.values", "sparse", value, scope)
    yield Site(sparse.indices, f"{label}.indices", "sparse", value, scope)
