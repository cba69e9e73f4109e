"""Find the values of a model that depend on its inputs' values; others follow from constants and shapes alone.

A weight may pass through many operators before a matrix product reads it, together with constants only. A tensor whose
rows are looked up by ids is an embedding; one whose rows are looked up at positions that follow from a shape is a grid.
"""

from __future__ import annotations

from dataclasses import dataclass

from onnx import FunctionProto, GraphProto, ModelProto, NodeProto

from qacomp.graphs.readers import Key, Readers, is_standard
from qacomp.graphs.walk import Scope, subgraphs

_SHAPE_ALONE = ("Shape", "Size", "EyeLike")
_MOST_PASSES = 64  # each level of nested function calls can need one pass


def varying_values(model: ModelProto, readers: Readers) -> set[Key]:
    """Return the values that depend on the values of the model's inputs; in a function, for at least one call."""
    given = {t.name for t in model.graph.initializer} | {s.values.name for s in model.graph.sparse_initializer}
    marks = _Marks(readers, {(id(model.graph), v.name) for v in model.graph.input if v.name not in given})
    for _ in range(_MOST_PASSES):
        before = len(marks.varying)
        for scope in (model.graph, *model.functions):
            marks.through(scope)
        if len(marks.varying) == before:
            break
    return marks.varying


def carried_unchanged(node: NodeProto, position: int) -> str | None:
    """Return the name that input `position` has in the body of a Loop or Scan, if it is the same in every iteration.

    None if the body changes the value, or if the input isn't passed to the body. A scanned input counts as the same.
    """
    body = next(iter(subgraphs(node)), None)
    if body is None or node.op_type not in ("Loop", "Scan") or not is_standard(node):
        return None
    scanned = next((int(a.i) for a in node.attribute if a.name == "num_scan_inputs"), 0)
    states = len(node.input) - (2 if node.op_type == "Loop" else scanned)
    place = position - 2 if node.op_type == "Loop" else position
    offset = 2 if node.op_type == "Loop" else 0  # the first inputs of a Loop's body are iteration number and condition
    if place < 0 or place + offset >= len(body.input):
        return None
    name = str(body.input[place + offset].name)
    if place >= states:
        return name
    result = place + (1 if node.op_type == "Loop" else 0)  # the first output of a Loop's body is the condition
    if result >= len(body.output):
        return None
    same = {name} | {n.output[0] for n in body.node if n.op_type == "Identity" and list(n.input) == [name] and n.output}
    return name if body.output[result].name in same else None


@dataclass
class _Marks:
    """Marks values that depend on inputs; varying: those found so far."""

    readers: Readers
    varying: set[Key]

    def through(self, scope: Scope) -> None:
        """Mark the results of nodes that read marked values, in the order of the nodes in a scope."""
        for node in scope.node:
            self._node(node, id(scope))

    def _is(self, scope: int, name: str) -> bool:
        return self.readers.key(scope, name) in self.varying

    def _node(self, node: NodeProto, scope: int) -> None:
        inputs = [self._is(scope, name) for name in node.input]
        called = self.readers.function(node)
        if called is not None:
            self._call(called, inputs)
            outputs = [any(inputs) and (id(called), name) in self.varying for name in called.output]
        elif bodies := list(subgraphs(node)):
            outputs = self._bodies(node, inputs, bodies)
        else:
            changes = any(inputs) and not (is_standard(node) and node.op_type in _SHAPE_ALONE)
            outputs = [changes] * len(node.output)
        self.varying |= {(scope, name) for name, changes in zip(node.output, outputs, strict=False) if changes and name}

    def _call(self, called: FunctionProto, inputs: list[bool]) -> None:
        given = zip(called.input, inputs, strict=False)
        self.varying |= {(id(called), name) for name, changes in given if changes}

    def _bodies(self, node: NodeProto, inputs: list[bool], bodies: list[GraphProto]) -> list[bool]:
        """Return for each output of a node with subgraphs whether it varies."""
        is_if = node.op_type == "If" and is_standard(node)
        for body in bodies:
            steady = {name for i, x in enumerate(inputs) if not x and (name := carried_unchanged(node, i)) is not None}
            if node.op_type == "Loop" and is_standard(node):
                steady |= {value.name for value in body.input[:2]}
            self.varying |= {(id(body), value.name) for value in body.input if value.name not in steady}
            self.through(body)
        if is_if:
            ends = [[self._is(id(body), value.name) for value in body.output] for body in bodies]
            return [any(flags) for flags in zip(*ends, strict=False)]
        return [True] * len(node.output)
