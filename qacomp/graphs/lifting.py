"""Make values that stand inside branches of an If outputs of the model, so that a run gives them."""

from __future__ import annotations

from typing import Any

from onnx import GraphProto, NodeProto, TensorProto, helper

from qacomp.graphs.walk import Scope, nested, subgraphs


class Lifter:
    """Adds nodes and outputs to a graph and to the branches of its Ifs.

    prefix: how the names of all values that it adds begin, which no other value's name may.
    """

    def __init__(self, graph: GraphProto, prefix: str) -> None:
        self.graph, self.prefix = graph, prefix
        self._made = 0
        self._alive = list(nested(graph))  # an id holds as long as its object lives
        self._homes: dict[int, tuple[Scope, NodeProto]] = {}
        for scope in self._alive:
            for node in scope.node:
                for inner in subgraphs(node):
                    self._homes[id(inner)] = (scope, node)

    def name(self) -> str:
        """Return a name that no value has yet."""
        self._made += 1
        return f"{self.prefix}v{self._made}"

    def add(self, scope: Scope, op: str, inputs: list[str], **attributes: Any) -> str:
        """Add a node behind all others of a scope, where all that it reads is known; return its output's name."""
        name = self.name()
        scope.node.add().CopyFrom(helper.make_node(op, inputs, [name], **attributes))
        return name

    def reachable(self, scope: Scope) -> bool:
        """Return whether values can come out of it: it is the main graph, or a branch of an If in a reachable one."""
        while scope is not self.graph:
            home = self._homes.get(id(scope))
            if home is None or home[1].op_type != "If":
                return False
            scope = home[0]
        return True

    def lift(self, scope: Scope, name: str, absent: TensorProto, shape: list[int] | None) -> str:
        """Make a reachable value an output of the main graph; `absent` comes out where its branch isn't taken.

        absent: of the value's element type; shape: the output's, None where it isn't known.
        """
        while scope is not self.graph:
            outer, node = self._homes[id(scope)]
            for branch in subgraphs(node):
                inside = name
                if branch is not scope:
                    inside = self.name()
                    branch.node.add().CopyFrom(helper.make_node("Constant", [], [inside], value=absent))
                branch.output.append(helper.make_tensor_value_info(inside, absent.data_type, shape))
            name, scope = self.name(), outer
            node.output.append(name)
        self.graph.output.append(helper.make_tensor_value_info(name, absent.data_type, shape))
        return name
