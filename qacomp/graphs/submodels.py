"""Cut single sub-models out of the graph of a flexible network, which has an output for each. Doesn't need torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import numpy_helper

from qacomp.errors import ConfigError, FormatError
from qacomp.graphs.canonical import canonicalize
from qacomp.graphs.skeleton import parse
from qacomp.graphs.walk import replace_items

OUTPUT = "logits"


def output_names(graph: bytes, source: str = "the graph") -> list[str]:
    """Return the names of a serialized model's outputs, in order; a flexible network has several."""
    return [output.name for output in parse(graph, source).graph.output]


def only_output(graph: bytes, output: str, source: str = "the graph") -> bytes:
    """Return the serialized model of one output, with only the nodes and initializers that it needs.

    Raises ConfigError for an unknown output.
    """
    model = parse(graph, source)
    _prune(model, output, source)
    pruned: bytes = model.SerializeToString(deterministic=True)
    return pruned


def weight_names(graph: bytes, source: str = "the graph") -> set[str]:
    """Return the names of a serialized model's initializers."""
    return {initializer.name for initializer in parse(graph, source).graph.initializer}


def finalize(model: onnx.ModelProto, source: str = "the graph") -> None:
    """Finish a model of `only_output` after its weights were filled in, in place: its output becomes `logits`.

    If the sub-model reads only the first channels of a weight, the weight is cut to these channels.
    """
    graph = model.graph
    output = graph.output[0].name
    for node in graph.node:
        node.input[:] = [OUTPUT if name == output else name for name in node.input]
        node.output[:] = [OUTPUT if name == output else name for name in node.output]
    graph.output[0].name = OUTPUT
    _fold_slices(graph, source)
    weights = [t.name for t in graph.initializer]
    canonicalize(model, weights, opset=model.opset_import[0].version, ir_version=model.ir_version)


def _prune(model: onnx.ModelProto, output: str, source: str) -> None:
    """Drop the other outputs, and the nodes and initializers that only they need."""
    graph = model.graph
    kept = [value for value in graph.output if value.name == output]
    if not kept:
        known = ", ".join(value.name for value in graph.output)
        raise ConfigError(f"{source}: has no sub-model {output!r}; it has {known}")
    needed, nodes = {output}, []
    for node in reversed(graph.node):
        if needed & set(node.output):
            needed |= _reads(node)
            nodes.append(node)
    initializers = [t for t in graph.initializer if t.name in needed]
    replace_items(graph.output, kept)
    replace_items(graph.node, nodes[::-1])
    replace_items(graph.initializer, initializers)


def _reads(node: onnx.NodeProto) -> set[str]:
    """Return the names that a node and its subgraphs read."""
    names = set(node.input)
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                names |= _reads(inner)
    return names


def _fold_slices(graph: onnx.GraphProto, source: str) -> None:
    """Replace each Slice of an initializer by an initializer; it keeps the weight's name if nothing else reads that."""
    tensors = {t.name: t for t in graph.initializer}
    readers: dict[str, int] = {}
    for node in graph.node:
        for name in node.input:
            readers[name] = readers.get(name, 0) + 1
    renamed: dict[str, str] = {}
    nodes = []
    for node in graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        if node.op_type != "Slice" or any(name and name not in tensors for name in node.input):
            nodes.append(node)
            continue
        name = node.input[0]
        alone = readers.get(name) == 1
        value = _sliced([numpy_helper.to_array(tensors[n]) if n else None for n in node.input], source)
        target = name if alone else node.output[0]
        tensors[target] = numpy_helper.from_array(np.ascontiguousarray(value), target)
        renamed[node.output[0]] = target
        readers[target] = readers.get(node.output[0], 0)
    replace_items(graph.node, nodes)
    used = {name for node in graph.node for name in _reads(node)}
    replace_items(graph.initializer, [t for t in tensors.values() if t.name in used])


def _sliced(arguments: Sequence[np.ndarray | None], source: str) -> np.ndarray:
    """Return the result of Slice(data, starts, ends, axes, steps). Raises FormatError for invalid arguments."""
    data, starts, ends, *rest = arguments
    if data is None or starts is None or ends is None:
        raise FormatError(f"{source}: a Slice in its graph lacks arguments; the file is damaged")
    axes = np.arange(len(starts)) if not rest or rest[0] is None else rest[0]
    steps = np.ones(len(starts), np.int64) if len(rest) < 2 or rest[1] is None else rest[1]
    if not len(starts) == len(ends) == len(axes) == len(steps) or not steps.all() or np.any(abs(axes) > data.ndim):
        raise FormatError(f"{source}: a Slice in its graph has invalid arguments; the file is damaged")
    cuts = [slice(None)] * data.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        cuts[int(axis) % max(data.ndim, 1)] = slice(int(start), int(end), int(step))
    return data[tuple(cuts)]
