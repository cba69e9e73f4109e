"""Find the nodes that read and make each value of a model, across scopes and calls of local functions.

A function's body has its own names and doesn't see names of graphs. Inputs and outputs of functions are matched by
position, and so are the outputs of an If and of its branches.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from onnx import FunctionProto, ModelProto, NodeProto

from qacomp.graphs.walk import Scope, subgraphs

Key = tuple[int, str]  # id of the scope that defines a value, and its name


@dataclass(frozen=True)
class Reader:
    """`node`, in the graph or function of id `scope`, reads a value as its input number `position`."""

    node: NodeProto
    position: int
    scope: int


@dataclass(frozen=True)
class Readers:
    """The readers and makers of all values of a model.

    uses: readers of each value; functions: local functions by domain, name and overload; calls: calls of each function,
    by its id; results: for a value in a function's body, the numbers of the function's outputs that it is; branches:
    for a value in a branch of an If, the If and the number of its output; made: the node that makes a value; homes: for
    the id of a scope, the scopes around it, outermost first and itself last, each with the names that it defines.
    """

    uses: dict[Key, list[Reader]] = field(default_factory=dict)
    functions: dict[tuple[str, str, str], FunctionProto] = field(default_factory=dict)
    calls: dict[int, list[Reader]] = field(default_factory=dict)
    results: dict[Key, list[int]] = field(default_factory=dict)
    branches: dict[Key, list[Reader]] = field(default_factory=dict)
    made: dict[Key, NodeProto] = field(default_factory=dict)
    homes: dict[int, list[tuple[int, set[str]]]] = field(default_factory=dict)
    alive: list[Scope] = field(default_factory=list)  # keeps the objects alive, since ids are valid only so long

    def function(self, node: NodeProto) -> FunctionProto | None:
        """Return the local function that a node calls, or None; functions go before operators of the same name."""
        return self.functions.get((_domain(node.domain), node.op_type, node.overload))

    def key(self, scope: int, name: str) -> Key | None:
        """Return the key of the value that a name means in a scope; inner definitions come first; None if none."""
        owner = next((home for home, names in reversed(self.homes[scope]) if name in names), None) if name else None
        return None if owner is None else (owner, name)


def readers_of(model: ModelProto) -> Readers:
    """Return the readers of all values in the main graph, all functions and their subgraphs (not training graphs)."""
    found = Readers()
    for function in model.functions:
        found.functions.setdefault((_domain(function.domain), function.name, function.overload), function)
    _collect(model.graph, [], found)
    for function in model.functions:
        _collect(function, [], found)
        for position, name in enumerate(function.output):
            found.results.setdefault((id(function), name), []).append(position)
    return found


def _collect(scope: Scope, outer: list[tuple[int, set[str]]], found: Readers) -> None:
    """Record readers, makers and calls of a scope and of its subgraphs; outer: the scopes around it."""
    found.alive.append(scope)
    inner = [*outer, (id(scope), defined_names(scope))]
    found.homes[id(scope)] = inner
    for node in scope.node:
        found.made.update(((id(scope), name), node) for name in node.output if name)
        for position, name in enumerate(node.input):
            if (key := found.key(id(scope), name)) is not None:
                found.uses.setdefault(key, []).append(Reader(node, position, id(scope)))
        if (called := found.function(node)) is not None:
            found.calls.setdefault(id(called), []).append(Reader(node, 0, id(scope)))
        for deeper in subgraphs(node):
            _collect(deeper, inner, found)
            if node.op_type == "If" and is_standard(node):
                for position, value in enumerate(deeper.output):
                    if (key := found.key(id(deeper), value.name)) is not None:
                        found.branches.setdefault(key, []).append(Reader(node, position, id(scope)))


def defined_names(scope: Scope) -> set[str]:
    """Return the names of the values that a graph or a function defines itself, with its inputs."""
    names = {output for node in scope.node for output in node.output if output}
    if isinstance(scope, FunctionProto):
        return names | set(scope.input)
    names |= {v.name for v in scope.input} | {t.name for t in scope.initializer}
    return names | {s.values.name for s in scope.sparse_initializer}


def is_standard(node: NodeProto) -> bool:
    """Return whether the node's operator is in ONNX's own domain."""
    return node.domain in ("", "ai.onnx")


def _domain(name: str) -> str:
    return "" if name == "ai.onnx" else name
