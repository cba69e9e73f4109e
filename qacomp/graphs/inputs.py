"""Find out how a model uses each input: the size of tables that it indexes, the constants it is compared with.

A value is followed through operators that pass it on or shift it, into local functions and into subgraphs.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from onnx import FunctionProto, ModelProto, NodeProto, TensorProto

from qacomp.errors import QacompError
from qacomp.graphs.readers import Key, Reader, Readers, readers_of
from qacomp.graphs.trained_rows import trained_rows
from qacomp.graphs.values import DTYPES, array_of, is_external
from qacomp.graphs.walk import sites

_KEEPING = ("Identity", "Cast", "CastLike", "Unsqueeze", "Squeeze", "Reshape", "Flatten", "Transpose")
_PASSING = (*_KEEPING, "Slice", "Split", "Expand", "Tile", "Pad", "Resize", "Concat")
_SHIFTING = ("Add", "Sub", "Clip", "Min", "Max", "Mod", "Abs", "Where", "Relu", "CumSum", "Mul", "Div", "Not", "Neg")
_COMPARING = ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")
_TABLES = ("Identity", "Cast", "DequantizeLinear")
_MOST_HOPS, _MOST_STEPS, _MOST_CALLS = 12, 4096, 16
_MOST_STEPS_IN_ALL, _MOST_DEPTH = 1 << 18, 200  # steps of all inputs together; depth of nested followings
_LARGEST_CONSTANT = 4096  # values; constants of comparisons and normalizations are smaller
_PIXEL_MEAN, _PIXEL_SCALE = 20.0, 0.05  # for pixels from 0 to 255 means are above, factors below; else near 1


@dataclass(frozen=True)
class InputUse:
    """How a model uses an input. rows: rows of the smallest table that it indexes, or None.

    words: the numbers of those rows that look trained, ascending; None for all, or if that isn't known; table: the
    name of that table, empty if it isn't known.
    compared: scalars with which it is compared, in order; pixels: it is shifted or scaled like values from 0 to 255;
    ends: operators that read it or what follows from it.
    """

    rows: int | None = None
    compared: tuple[float, ...] = ()
    pixels: bool = False
    ends: frozenset[str] = frozenset()
    words: NDArray[np.intp] | None = field(default=None, compare=False)
    table: str = field(default="", compare=False)


def input_uses(model: ModelProto) -> dict[str, InputUse]:
    """Return the use of each input that a caller must give, by name in the graph's order; initializers are left out."""
    graph = model.graph
    constants = {t.name for t in graph.initializer} | {s.values.name for s in graph.sparse_initializer}
    search = _InputSearch(readers_of(model), _tensors(model), _makers(model))
    return {v.name: search.use((id(graph), v.name)) for v in graph.input if v.name not in constants}


def _tensors(model: ModelProto) -> dict[Key, TensorProto]:
    """Return the tensors of initializers and Constant nodes by scope and name."""
    return {(id(s.scope), s.value): s.tensor for s in sites(model) if s.scope is not None and s.value}


def _makers(model: ModelProto) -> dict[str, NodeProto]:
    """Map the name of each value in the main graph and the functions to the node that makes it."""
    return {o: node for scope in (*model.functions, model.graph) for node in scope.node for o in node.output if o}


@dataclass
class _Noted:
    """The uses found so far; the fields are those of InputUse."""

    rows: list[int] = field(default_factory=list)
    tables: list[TensorProto] = field(default_factory=list)
    compared: list[float] = field(default_factory=list)
    ends: set[str] = field(default_factory=set)
    pixels: bool = False

    def note_pixels(self) -> None:
        """Record that the input is shifted or scaled like values from 0 to 255."""
        self.pixels = True

    def use(self) -> InputUse:
        """Return the recorded uses as an InputUse."""
        rows = min(self.rows) if self.rows else None
        table = next((table for table in self.tables if table.dims[0] == rows), None)
        words = None if table is None else trained_rows(table)
        name = "" if table is None else table.name
        return InputUse(rows, tuple(dict.fromkeys(self.compared)), self.pixels, frozenset(self.ends), words, name)


class _InputSearch:
    """Follows an input to the nodes that read it. places: the value that a node reads, by (id of node, position)."""

    def __init__(self, readers: Readers, tensors: dict[Key, TensorProto], makers: dict[str, NodeProto]) -> None:
        self.readers, self.tensors, self.makers = readers, tensors, makers
        self.places = {(id(r.node), r.position): key for key, uses in readers.uses.items() for r in uses}
        self.steps, self.left, self.depth = 0, _MOST_STEPS_IN_ALL, 0

    def use(self, key: Key) -> InputUse:
        """Return the uses of the value `key`."""
        found, self.steps = _Noted(), 0
        self._follow(key, found, _MOST_HOPS, (), whole=True)
        self.left -= self.steps
        return found.use()

    def _follow(self, key: Key, found: _Noted, hops: int, calls: tuple[Reader, ...], whole: bool) -> None:
        """Follow a value; whole: no operator has changed its values so far, so that constants show its range."""
        if self.depth < _MOST_DEPTH:
            self.depth += 1
            self._follow_readers(key, found, hops, calls, whole)
            self.depth -= 1

    def _follow_readers(self, key: Key, found: _Noted, hops: int, calls: tuple[Reader, ...], whole: bool) -> None:
        for reader in self.readers.uses.get(key, ()):
            self.steps += 1
            if self.steps > min(_MOST_STEPS, self.left):
                return
            node, function = reader.node, self.readers.function(reader.node)
            if function is not None:
                if len(calls) < _MOST_CALLS and reader.position < len(function.input):
                    inside = (id(function), function.input[reader.position])
                    self._follow(inside, found, hops, (*calls, reader), whole)
                continue
            passing = node.op_type in _PASSING and (reader.position == 0 or node.op_type == "Concat")
            if (passing or node.op_type in _SHIFTING) and hops:
                if whole and self._is_of_pixels(node, reader.position):
                    found.note_pixels()
                for output in node.output:
                    self._follow((reader.scope, output), found, hops - 1, calls, whole and passing)
            self._end(reader, found, calls, whole)
        for position in self.readers.results.get(key, ()):
            for call in calls[-1:]:
                if position < len(call.node.output):
                    self._follow((call.scope, call.node.output[position]), found, hops, calls[:-1], whole)

    def _end(self, reader: Reader, found: _Noted, calls: tuple[Reader, ...], whole: bool) -> None:
        node, position = reader.node, reader.position
        found.ends.add(node.op_type if position == 0 else f"{node.op_type}:{position}")
        if node.op_type == "Gather" and position == 1:
            table = self._table(node, 0, calls)
            axis = next((int(a.i) for a in node.attribute if a.name == "axis"), 0)
            if table is not None and -len(table.dims) <= axis < len(table.dims):
                found.rows.append(int(table.dims[axis]))
                found.tables.extend([table] if axis == 0 else [])
        elif node.op_type == "OneHot" and position == 0:
            depth = self._constant(node, 1)
            found.rows.extend([int(depth.reshape(-1)[0])] if depth is not None and depth.size else [])
        elif node.op_type in _COMPARING:
            held = self._constant(node, 1 - position)
            if held is not None and held.size > 1 and np.array_equal(held.reshape(-1), np.arange(held.size)):
                found.rows.append(held.size)  # a one-hot encoding by comparison with 0, 1, 2, ...
            elif whole and held is not None and held.size == 1 and held.dtype.kind in "fiub":
                found.compared.append(float(held.reshape(-1)[0]))
        elif node.op_type == "BatchNormalization" and position == 0 and whole:
            means = self._constant(node, 3)
            if means is not None and means.size and float(np.abs(means).mean()) > _PIXEL_MEAN:
                found.note_pixels()

    def _is_of_pixels(self, node: NodeProto, position: int) -> bool:
        """Return whether a node subtracts a mean or multiplies by a factor that fits values from 0 to 255."""
        held = self._constant(node, 1 - position) if node.op_type in ("Sub", "Add", "Mul", "Div") else None
        if held is None or not held.size or held.dtype.kind != "f":
            return False
        size = float(np.abs(held).mean())
        if node.op_type == "Mul":
            return 0 < size < _PIXEL_SCALE
        return size > _PIXEL_MEAN

    def _table(self, node: NodeProto, position: int, calls: tuple[Reader, ...]) -> TensorProto | None:
        """Find the constant tensor that a node reads at a position, back through operators that keep its shape."""
        for _ in range(_MOST_HOPS):
            key = self.places.get((id(node), position))
            if key is None:
                return None
            if key in self.tensors:
                return self.tensors[key]
            given = self._given(key, calls)
            if given is not None:
                node, position, calls = given.node, given.position, calls[:-1]
                continue
            maker = self.makers.get(key[1])
            if maker is None or maker.op_type not in _TABLES:
                return None
            node, position = maker, 0
        return None

    def _given(self, key: Key, calls: tuple[Reader, ...]) -> Reader | None:
        """Return the caller's place of a value that is an input of the innermost called function; else None."""
        called = self.readers.function(calls[-1].node) if calls else None
        if not isinstance(called, FunctionProto) or id(called) != key[0] or key[1] not in called.input:
            return None
        return Reader(calls[-1].node, list(called.input).index(key[1]), calls[-1].scope)

    def _constant(self, node: NodeProto, position: int) -> NDArray[np.generic] | None:
        key = self.places.get((id(node), position))
        tensor = self.tensors.get(key) if key is not None else None
        if tensor is None or is_external(tensor) or tensor.data_type not in DTYPES:
            return None
        if int(np.prod(tensor.dims, dtype=np.float64)) > _LARGEST_CONSTANT:
            return None
        try:
            values: NDArray[np.generic] = array_of(tensor, None)
        except QacompError:  # a damaged tensor; the error is raised when it is packed
            return None
        return values
