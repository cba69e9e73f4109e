"""Make a graph smaller: drop node names, doc strings and inferred shapes, and shorten the names of inner values.

Constant nodes with the same value become one. For the model silero that saves 40 kB of a 51 kB graph. What users see
stays: names of inputs, outputs and weights, metadata and functions.
"""

from __future__ import annotations

import string
from collections.abc import Collection, Mapping

import onnx

from qacomp.graphs.walk import graphs, subgraphs

_DIGITS = string.ascii_letters + string.digits + "_"


def compact(model: onnx.ModelProto, keep: Collection[str] = ()) -> None:
    """Make a model's graph smaller, in place; names of initializers and those in `keep` stay.

    Each old name gets the same new name in every subgraph, so the meaning of all names stays the same.
    """
    _merge_constants(model.graph, keep)
    everything = list(graphs(model.graph))
    main = model.graph
    kept = {v.name for v in (*main.input, *main.output)} | {t.name for g in everything for t in g.initializer} | {""}
    kept.update(keep)
    kept |= {s.values.name for g in everything for s in g.sparse_initializer}
    kept |= {a.value for g in everything for q in g.quantization_annotation for a in q.quant_parameter_tensor_names}
    kept |= {q.tensor_name for g in everything for q in g.quantization_annotation}
    new: dict[str, str] = {name: name for name in kept}
    counter = 0

    def short(name: str) -> str:
        nonlocal counter
        while name not in new:
            candidate, counter = _number(counter), counter + 1
            if candidate not in kept:
                new[name] = candidate
        return new[name]

    model.ClearField("doc_string")
    for graph in everything:
        for field in ("doc_string", "value_info"):
            graph.ClearField(field)
        for value in (*graph.input, *graph.output):
            value.ClearField("doc_string")
            value.name = short(value.name)
        for tensor in graph.initializer:
            tensor.ClearField("doc_string")
        for node in graph.node:
            node.ClearField("name")
            node.ClearField("doc_string")
            node.input[:] = [short(name) for name in node.input]
            node.output[:] = [short(name) for name in node.output]
            for attribute in node.attribute:
                attribute.ClearField("doc_string")
                if attribute.HasField("t"):
                    attribute.t.ClearField("name")  # nodes read a Constant by the name of its output


def _merge_constants(graph: onnx.GraphProto, keep: Collection[str]) -> None:
    """Keep one of the Constant nodes with the same value; outputs and names in `keep` stay."""
    fixed = {value.name for value in graph.output} | set(keep)
    first: dict[bytes, str] = {}
    merged: dict[str, str] = {}
    places = []
    for number, node in enumerate(graph.node):
        if node.op_type == "Constant" and node.domain in ("", "ai.onnx") and node.output[0] not in fixed:
            name = first.setdefault(_content(node), node.output[0])
            if name != node.output[0]:
                merged[node.output[0]] = name
                places.append(number)
    for number in reversed(places):
        del graph.node[number]
    if merged:
        _rename(graph, merged)
    for node in graph.node:
        for inner in subgraphs(node):
            _merge_constants(inner, keep)


def _content(node: onnx.NodeProto) -> bytes:
    """Serialize the value of a Constant node, without names."""
    twin = onnx.NodeProto()
    twin.attribute.extend(node.attribute)
    for attribute in twin.attribute:
        attribute.ClearField("doc_string")
        if attribute.HasField("t"):
            attribute.t.ClearField("name")
            attribute.t.ClearField("doc_string")
    content: bytes = twin.SerializeToString(deterministic=True)
    return content


def _rename(graph: onnx.GraphProto, new: Mapping[str, str]) -> None:
    """Replace names by new ones in the inputs of a graph's nodes and of its subgraphs."""
    for node in graph.node:
        node.input[:] = [new.get(name, name) for name in node.input]
        for inner in subgraphs(node):
            _rename(inner, new)
            for value in inner.output:  # a branch may return an outer value
                value.name = new.get(value.name, value.name)


def _number(n: int) -> str:
    """Return name number n of the sequence a, b, ..., aa, ab, ..."""
    text = _DIGITS[n % len(_DIGITS)]
    while n >= len(_DIGITS):
        n = n // len(_DIGITS) - 1
        text = _DIGITS[n % len(_DIGITS)] + text
    return text
