"""What each tensor of a graph is for: which operator reads it, as what, and along which axis its channels run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from onnx import FunctionProto, ModelProto, NodeProto

from qacomp.onnx_graph.readers import Key, Reader, Readers, readers_of
from qacomp.onnx_graph.walk import Site

_PASSING = ("Identity", "Cast", "CastLike", "Transpose", "Slice", "Split", "Unsqueeze", "Squeeze", "Reshape", "Flatten")
_KEEPING_AXES = ("Identity", "Cast", "CastLike", "Slice", "Split", "Concat")
_MOST_HOPS = 8
_MOST_CALLS, _MOST_STEPS = 32, 4096


@dataclass(frozen=True)
class Role:
    """`op` reads the tensor as `part`: weight, bias, scale or value. `axis`: output channels of a weight, or None."""

    op: str
    part: str
    axis: int | None = None

    def __str__(self) -> str:
        return f"{self.part} of {self.op}"


def roles(model: ModelProto, found: list[Site]) -> list[list[Role]]:
    """Of each site the roles it plays, without duplicates; empty where nothing reads it."""
    readers = readers_of(model)
    return [
        list(dict.fromkeys(_Search(readers, len(s.tensor.dims)).roles((id(s.scope), s.value), _MOST_HOPS, ())))
        if s.scope is not None and s.value
        else []
        for s in found
    ]


@dataclass
class _Search:
    """The roles of a tensor with `rank` axes: through operators that pass it on, into functions and out of them.

    `steps`: readers looked at so far; calls of calls may be more than anyone can follow.
    """

    readers: Readers
    rank: int
    steps: int = 0

    def roles(self, key: Key, hops: int, calls: tuple[Reader, ...]) -> Iterator[Role]:
        """`hops` operators more may pass the value on; `calls`: those that led into the function it stands in."""
        for reader in self.readers.uses.get(key, ()):
            self.steps += 1
            node, function = reader.node, self.readers.function(reader.node)
            if function is not None:
                yield from self._in_body(function, reader, hops, calls)
            elif _passes(node, reader.position) and hops and self.steps < _MOST_STEPS:
                for output in node.output:
                    for role in self.roles((reader.scope, output), hops - 1, calls):
                        yield Role(role.op, role.part, _before(node, role.axis))
            else:
                yield _role(node, reader.position, self.rank)
        for position in self.readers.results.get(key, ()):
            yield from self._behind_call(position, key[0], hops, calls)

    def _in_body(self, function: FunctionProto, call: Reader, hops: int, calls: tuple[Reader, ...]) -> Iterator[Role]:
        """The roles of a call's input, by what the function's body does with it."""
        if call.position < len(function.input) and len(calls) < _MOST_CALLS and self.steps < _MOST_STEPS:
            yield from self.roles((id(function), function.input[call.position]), hops, (*calls, call))
        else:
            yield _unknown(call.node)

    def _behind_call(self, position: int, function: int, hops: int, calls: tuple[Reader, ...]) -> Iterator[Role]:
        """The roles of a function's result where it was called, or, of a value of its own, wherever it is called."""
        for call in calls[-1:] or self.readers.calls.get(function, ()):
            self.steps += 1
            if position >= len(call.node.output):
                continue
            if hops and self.steps < _MOST_STEPS:
                yield from self.roles((call.scope, call.node.output[position]), hops - 1, calls[:-1])
            else:
                yield Role(_name(call.node), "value")


def _passes(node: NodeProto, position: int) -> bool:
    """Whether the operator gives its input on, rearranged at most."""
    passing = (node.op_type in _PASSING and position == 0) or node.op_type == "Concat"
    return passing and node.domain in ("", "ai.onnx")


def _before(node: NodeProto, axis: int | None) -> int | None:
    """The axis ahead of a passing operator, where it is known."""
    if node.op_type in _KEEPING_AXES:
        return axis
    order = _integers(node, "perm")
    if node.op_type == "Transpose" and order and axis is not None and -len(order) <= axis < len(order):
        return order[axis]
    return None


def _role(node: NodeProto, position: int, rank: int) -> Role:
    rule = _PARTS.get(node.op_type, {}).get(position)
    if rule is None:
        return _unknown(node) if "." in _name(node) else Role(_name(node), "value")
    part, axis = rule
    if any(a.ref_attr_name for a in node.attribute):  # a caller's attribute may say which axis
        return Role(_name(node), part)
    return Role(_name(node), part, axis(node, rank) if callable(axis) else axis)


def _unknown(node: NodeProto) -> Role:
    """Of an operator, or a call, that nobody knows: its matrix is most probably a weight."""
    return Role(_name(node), "weight")


def _name(node: NodeProto) -> str:
    return f"{node.domain}.{node.op_type}" if node.domain not in ("", "ai.onnx") else node.op_type


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
