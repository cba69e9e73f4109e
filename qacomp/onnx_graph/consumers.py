"""What each tensor of a graph is for: which operator reads it, as what, and along which axis its channels run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from onnx import GraphProto, ModelProto, NodeProto

from qacomp.onnx_graph.walk import Site, subgraphs

_PASSING = ("Identity", "Cast", "CastLike", "Transpose", "Slice", "Split", "Unsqueeze", "Squeeze", "Reshape", "Flatten")
_KEEPING_AXES = ("Identity", "Cast", "CastLike", "Slice", "Split", "Concat")
_MOST_HOPS = 8


@dataclass(frozen=True)
class Role:
    """`op` reads the tensor as `part`: weight, bias, scale or value. `axis`: output channels of a weight, or None."""

    op: str
    part: str
    axis: int | None = None

    def __str__(self) -> str:
        return f"{self.part} of {self.op}"


@dataclass(frozen=True)
class _Reader:
    node: NodeProto
    position: int


Key = tuple[int, str]  # id of the graph that defines a value, and its name


def roles(model: ModelProto, found: list[Site]) -> list[list[Role]]:
    """Of each site the roles it plays, without duplicates; empty where nothing reads it."""
    readers: dict[Key, list[_Reader]] = {}
    homes: dict[int, int] = {}  # id of a node -> id of its graph
    alive: list[GraphProto] = []  # an id holds as long as its object lives
    _collect(model.graph, [], readers, homes, alive)
    return [
        list(dict.fromkeys(_roles_of((id(s.graph), s.value), len(s.tensor.dims), readers, homes, _MOST_HOPS)))
        if s.graph is not None and s.value
        else []
        for s in found
    ]


def _collect(
    graph: GraphProto,
    scopes: list[tuple[int, set[str]]],
    readers: dict[Key, list[_Reader]],
    homes: dict[int, int],
    alive: list[GraphProto],
) -> None:
    """Note for every value who reads it; a name means the innermost graph around the reader that defines it."""
    alive.append(graph)
    defined = {v.name for v in graph.input} | {t.name for t in graph.initializer}
    defined |= {s.values.name for s in graph.sparse_initializer} | {o for n in graph.node for o in n.output}
    inner = [*scopes, (id(graph), defined)]
    for node in graph.node:
        homes[id(node)] = id(graph)
        for position, name in enumerate(node.input):
            owner = next((home for home, names in reversed(inner) if name in names), None)
            if name and owner is not None:
                readers.setdefault((owner, name), []).append(_Reader(node, position))
        for deeper in subgraphs(node):
            _collect(deeper, inner, readers, homes, alive)


def _roles_of(
    key: Key, rank: int, readers: dict[Key, list[_Reader]], homes: dict[int, int], hops: int
) -> Iterator[Role]:
    for reader in readers.get(key, ()):
        node = reader.node
        passes = (node.op_type in _PASSING and reader.position == 0) or node.op_type == "Concat"
        if passes and node.domain in ("", "ai.onnx") and hops:
            for output in node.output:
                for role in _roles_of((homes[id(node)], output), rank, readers, homes, hops - 1):
                    yield Role(role.op, role.part, _before(node, role.axis))
        else:
            yield _role(node, reader.position, rank)


def _before(node: NodeProto, axis: int | None) -> int | None:
    """The axis ahead of a passing operator, where it is known."""
    if node.op_type in _KEEPING_AXES:
        return axis
    order = _integers(node, "perm")
    if node.op_type == "Transpose" and order and axis is not None and -len(order) <= axis < len(order):
        return order[axis]
    return None


def _role(node: NodeProto, position: int, rank: int) -> Role:
    op = f"{node.domain}.{node.op_type}" if node.domain not in ("", "ai.onnx") else node.op_type
    rule = _PARTS.get(node.op_type, {}).get(position)
    if rule is None:
        return Role(op, "weight" if "." in op else "value")  # a custom operator's matrix: most probably a weight
    part, axis = rule
    return Role(op, part, axis(node, rank) if callable(axis) else axis)


def _gemm_b(node: NodeProto, rank: int) -> int:
    return 0 if _integer(node, "transB") else 1


def _gemm_a(node: NodeProto, rank: int) -> int:
    return 1 if _integer(node, "transA") else 0


def _gather(node: NodeProto, rank: int) -> int:
    return _integer(node, "axis")


def _last(node: NodeProto, rank: int) -> int:
    return rank - 1


def _last_but_one(node: NodeProto, rank: int) -> int:
    return max(rank - 2, 0)


_Axis = int | Callable[[NodeProto, int], int] | None
_RECURRENT: dict[int, tuple[str, _Axis]] = {1: ("weight", 1), 2: ("weight", 1), 3: ("bias", None)}
_NORM: dict[int, tuple[str, _Axis]] = {1: ("scale", None), 2: ("bias", None)}
_PARTS: dict[str, dict[int, tuple[str, _Axis]]] = {
    "Conv": {1: ("weight", 0), 2: ("bias", None)},
    "FusedConv": {1: ("weight", 0), 2: ("bias", None)},
    "DeformConv": {1: ("weight", 0), 3: ("bias", None)},
    "ConvTranspose": {1: ("weight", 1), 2: ("bias", None)},
    "Gemm": {0: ("weight", _gemm_a), 1: ("weight", _gemm_b), 2: ("bias", None)},
    "MatMul": {0: ("weight", _last_but_one), 1: ("weight", _last)},
    "FusedMatMul": {0: ("weight", _last_but_one), 1: ("weight", _last)},
    "Einsum": dict.fromkeys(range(8), ("weight", None)),
    "LSTM": {**_RECURRENT, 7: ("bias", None)},
    "GRU": _RECURRENT,
    "RNN": _RECURRENT,
    "Gather": {0: ("weight", _gather)},
    "GatherElements": {0: ("weight", None)},
    "GatherND": {0: ("weight", 0)},
    "BatchNormalization": {1: ("scale", None), 2: ("bias", None), 3: ("bias", None)},
    "InstanceNormalization": _NORM,
    "LayerNormalization": _NORM,
    "GroupNormalization": _NORM,
    "RMSNormalization": {1: ("scale", None)},
    "SkipLayerNormalization": {2: ("scale", None), 3: ("bias", None), 4: ("bias", None)},
    "Add": {0: ("bias", None), 1: ("bias", None)},
    "PRelu": {1: ("scale", None)},
}


def _integer(node: NodeProto, name: str) -> int:
    return next((int(a.i) for a in node.attribute if a.name == name), 0)


def _integers(node: NodeProto, name: str) -> tuple[int, ...]:
    return next((tuple(a.ints) for a in node.attribute if a.name == name), ())
