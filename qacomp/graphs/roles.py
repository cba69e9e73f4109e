"""Find the role of each tensor in a graph: the operator that reads it, what it is there, and the axis of channels.

A weight is a tensor that a matrix product, a convolution, a recurrent operator or a look-up by ids reads, directly or
after operators that rearrange it or join it with other constants. A tensor that is combined with data in another way
(added, multiplied, compared, looked up by positions) is a constant.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from onnx import FunctionProto, ModelProto

from qacomp.graphs.choosing import takes_candidates
from qacomp.graphs.parts import axis_before, name_of, part_of
from qacomp.graphs.products import Products
from qacomp.graphs.readers import Key, Reader, Readers, is_standard, readers_of
from qacomp.graphs.varying import carried_unchanged, varying_values
from qacomp.graphs.walk import Site, subgraphs

_PASSING = (
    "Identity", "Cast", "CastLike", "Transpose", "Slice", "Split", "Unsqueeze", "Squeeze", "Reshape", "Flatten", "Neg",
    "Expand", "Tile", "Pad", "QuantizeLinear", "DequantizeLinear", "DepthToSpace", "SpaceToDepth",
)  # fmt: skip
_PASSING_CONSTANTS = ("Gather", "GatherElements", "GatherND")  # if the indices don't depend on inputs
_KEEPING_SHAPE = ("Identity", "Cast", "CastLike", "Neg", "Expand", "QuantizeLinear", "DequantizeLinear")
_JOINING = ("Mul", "Add", "Sub", "Div")
_MOST_HOPS = 16
_MOST_CALLS, _MOST_STEPS = 32, 4096
_MOST_STEPS_IN_ALL, _LEAST_STEPS = 1 << 18, 64  # for all tensors of a model (about 6 s); for each tensor in any case


@dataclass(frozen=True)
class Role:
    """The role of a tensor: the operator `op` reads it as `part`.

    part: "weight", "bias", "scale", "value", or "unknown" for an unknown operator; axis: that of a weight's output
    channels, or None; lookup: a weight whose rows are looked up by ids; beside: for a bias, the weights of the product
    to which it is added, or the scale of its norm.
    """

    op: str
    part: str
    axis: int | None = None
    lookup: bool = field(default=False, compare=False)
    beside: tuple[Key, ...] = field(default=(), compare=False)

    def __str__(self) -> str:
        return f"{self.part} of {self.op}" if self.part != "unknown" else f"input of {self.op}, which isn't known"


def roles(model: ModelProto, found: list[Site]) -> list[list[Role]]:
    """Return the roles of each site's tensor, without duplicates; an empty list if no node reads it."""
    readers = readers_of(model)
    varying = varying_values(model, readers)
    products = Products(readers)
    result, left = [], _MOST_STEPS_IN_ALL
    for site in found:
        most = min(_MOST_STEPS, max(_LEAST_STEPS, left))
        search = _RoleSearch(readers, varying, products, tuple(site.tensor.dims), most)
        each = search.roles((id(site.scope), site.value), _MOST_HOPS, (), True) if site.scope and site.value else ()
        result.append(list({(role, role.beside): role for role in each}.values()))
        left -= search.steps
    return result


@dataclass
class _RoleSearch:
    """Finds the roles of a tensor of shape `dims`, through operators that pass it on and through local functions.

    steps: number of readers visited so far; most: the limit, since nested calls can multiply without bounds.
    """

    readers: Readers
    varying: set[Key]
    products: Products
    dims: tuple[int, ...]
    most: int
    steps: int = 0

    def roles(self, key: Key, hops: int, calls: tuple[Reader, ...], whole: bool) -> Iterator[Role]:
        """Yield the roles of a value. hops: how many more operators may pass it on; calls: the calls that led here.

        whole: whether it still has the tensor's stored shape.
        """
        for reader in self.readers.uses.get(key, ()):
            self.steps += 1
            node, function = reader.node, self.readers.function(reader.node)
            if function is not None:
                yield from self._in_body(function, reader, hops, calls, whole)
                continue
            inner = carried_unchanged(node, reader.position)
            passes = inner is None and self._passes(reader)
            if inner is None and not passes:
                yield self._role(reader, calls, whole)
            elif not hops or self.steps >= self.most:
                yield Role(name_of(node), "unknown")
            elif inner is not None:
                yield from self.roles((id(next(subgraphs(node))), inner), hops - 1, calls, False)
            else:
                same = whole and node.op_type in _KEEPING_SHAPE
                for output in node.output:
                    for role in self.roles((reader.scope, output), hops - 1, calls, same):
                        yield replace(role, axis=axis_before(node, role.axis))
        for gate in self.readers.branches.get(key, ()):
            self.steps += 1
            if hops and self.steps < self.most and gate.position < len(gate.node.output):
                yield from self.roles((gate.scope, gate.node.output[gate.position]), hops - 1, calls, whole)
        for position in self.readers.results.get(key, ()):
            yield from self._behind_call(position, key[0], hops, calls, whole)

    def _in_body(
        self, function: FunctionProto, call: Reader, hops: int, calls: tuple[Reader, ...], whole: bool
    ) -> Iterator[Role]:
        """Yield the roles of an input of a call: those that it has in the function's body."""
        if call.position < len(function.input) and len(calls) < _MOST_CALLS and self.steps < self.most:
            yield from self.roles((id(function), function.input[call.position]), hops, (*calls, call), whole)
        else:
            yield Role(name_of(call.node), "unknown")

    def _behind_call(
        self, position: int, function: int, hops: int, calls: tuple[Reader, ...], whole: bool
    ) -> Iterator[Role]:
        """Yield the roles of a function's result at the call that led here, or else at all calls of the function."""
        for call in calls[-1:] or self.readers.calls.get(function, ()):
            self.steps += 1
            if position >= len(call.node.output):
                continue
            if hops and self.steps < self.most:
                yield from self.roles((call.scope, call.node.output[position]), hops - 1, calls[:-1], whole)
            else:
                yield Role(name_of(call.node), "unknown")

    def _passes(self, reader: Reader) -> bool:
        """Return whether the operator passes the tensor on: rearranged, or joined with values independent of inputs."""
        node, first = reader.node, reader.position == 0
        if not is_standard(node):
            return False
        if node.op_type in _PASSING:
            return first
        steady = not any(self._varies(reader, i) for i in range(len(node.input)) if i != reader.position)
        if node.op_type in _JOINING:  # a vector that is joined with a weight is its scale or offset, not a weight
            return steady and sum(d > 1 for d in self.dims) > 1 and (first or node.op_type != "Div")
        return steady and (node.op_type == "Concat" or (first and node.op_type in _PASSING_CONSTANTS))

    def _varies(self, reader: Reader, position: int) -> bool:
        return self.readers.key(reader.scope, reader.node.input[position]) in self.varying

    def _role(self, reader: Reader, calls: tuple[Reader, ...], whole: bool) -> Role:
        node, position = reader.node, reader.position
        part, axis = part_of(node, position, self.dims, whole)
        op = name_of(node)
        if op in ("Gather", "GatherND") and part == "weight" and len(node.input) > 1:
            indices = self.readers.key(reader.scope, node.input[1])
            part = "value" if whole and takes_candidates(self.readers, indices, self.dims) else part
        if part == "added":
            beside = self.products.added_to(reader, calls)
            return Role(op, "bias" if beside else "value", beside=beside)
        if part == "bias":
            return Role(op, part, beside=self.products.of_node(reader, calls))
        return Role(op, part, axis, part == "weight" and ("Gather" in op or "Embed" in op))
