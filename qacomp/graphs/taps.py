"""A model whose operators tell what they multiply their weights with: their data inputs are further outputs.

An operator may read a weight behind others that only rearrange it (Transpose, Slice and Concat, ...). Such a weight
becomes an input with a default, and what the operator gets of it an output: a run with the places of the values in
place of the values tells where each one ends (`qacomp.calibration.placement`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, inliner, numpy_helper

from qacomp.graphs.lifting import Lifter
from qacomp.graphs.open_weights import tensor_places, with_defaults
from qacomp.graphs.readers import Key, Reader, Readers, is_standard, readers_of
from qacomp.graphs.walk import Scope

PREFIX = "qacomp.tap."
_REARRANGING = ("Identity", "Cast", "Transpose", "Reshape", "Unsqueeze", "Squeeze", "Flatten", "Slice", "Split")
_DATA = {
    "Conv": {1: (0,)},
    "ConvTranspose": {1: (0,)},
    "MatMul": {0: (1,), 1: (0,)},
    "Gemm": {0: (1,), 1: (0,)},
    "LSTM": {1: (0,), 2: (5,)},
    "GRU": {1: (0,), 2: (5,)},
    "RNN": {1: (0,), 2: (5,)},
}
"""Of each operator that is known, by the input that is its weight: the inputs that the weight is multiplied with.

Recurrence weights are multiplied with the states too, which are the operator's first output.
"""
RECURRENT = ("LSTM", "GRU", "RNN")
_RECURRENCE = 2  # the input of a recurrent operator that is multiplied with its states
_MEASURING = ("Shape", "Size")  # they read no value
_MOST_HOPS, _MOST_READERS = 16, 64


@dataclass(frozen=True)
class Tap:
    """An operator, `node`, that reads a weight as its input `position`.

    data: outputs that hold what it multiplies the weight with, float32, without values where it didn't run. held: the
    output that holds the weight as it reads it, float32; "" where that is the tensor itself.
    """

    weight: str
    node: NodeProto
    position: int
    data: tuple[str, ...]
    held: str = ""


@dataclass(frozen=True)
class Taps:
    """model: with the further outputs, and with each weight that others rearrange as an input that has a default."""

    model: ModelProto
    taps: tuple[Tap, ...]


def with_taps(model: ModelProto, weights: Iterable[str]) -> Taps:
    """Give each operator that reads one of `weights` a tap: names of float values, unique in the model.

    A weight that any operator reads which isn't known here has no tap, nor has one that stands in a loop's body or in
    a function that can't be inlined. `model` is changed.
    """
    if model.functions:
        model = inliner.inline_local_functions(model)
    builder = _TapBuilder(model)
    found = {weight: builder.readings(weight) for weight in weights}
    with_defaults(model, [weight for weight, readings in found.items() if any(r.behind for r in readings)])
    return Taps(model, tuple(builder.tap(weight, reading) for weight, all_ in found.items() for reading in all_))


@dataclass(frozen=True)
class _WeightReader:
    """An operator of a scope that reads a weight; behind: others rearrange it first."""

    scope: Scope
    reader: Reader
    behind: bool


class _TapBuilder:
    """Finds the operators that read weights, and makes outputs of their inputs."""

    def __init__(self, model: ModelProto) -> None:
        self._places = tensor_places(model.graph)
        self._readers: Readers = readers_of(model)
        self._scopes = {id(scope): scope for scope in self._readers.alive}
        self._lifter = Lifter(model.graph, PREFIX)
        self._lifted: dict[tuple[int, str], str] = {}
        self._absent = numpy_helper.from_array(np.empty(0, np.float32))

    def readings(self, weight: str) -> list[_WeightReader]:
        """Return all operators that read a weight; none where one isn't known, or they are too many."""
        if (place := self._places.get(weight)) is None:
            return []
        found = list(self._followed((id(place[0]), weight), set(), _MOST_HOPS))
        known = [reading for reading in found if reading is not None]
        return known if len(known) == len(found) <= _MOST_READERS else []

    def _followed(self, key: Key, seen: set[Key], hops: int) -> Iterator[_WeightReader | None]:
        """Yield the operators that read a value, or what others make of it that only rearrange it.

        None stands for one that isn't known.
        """
        if key in seen:
            return
        seen.add(key)
        if self._readers.branches.get(key) or not self._lifter.reachable(self._scopes[key[0]]):
            yield None
            return
        for reader in self._readers.uses.get(key, ()):
            node, scope = reader.node, self._scopes[reader.scope]
            if not is_standard(node) or not self._lifter.reachable(scope):
                yield None
            elif reader.position in _DATA.get(node.op_type, ()):
                yield _WeightReader(scope, reader, hops < _MOST_HOPS)
            elif hops and _rearranges(reader):
                for output in filter(None, node.output):
                    yield from self._followed((reader.scope, output), seen, hops - 1)
            elif node.op_type not in _MEASURING:
                yield None

    def tap(self, weight: str, reading: _WeightReader) -> Tap:
        """Make outputs of an operator's data, and of the weight as it reads it where others rearrange it first."""
        reader, scope = reading.reader, reading.scope
        node = reader.node
        read = [node.input[i] for i in _DATA[node.op_type][reader.position] if i < len(node.input) and node.input[i]]
        if node.op_type in RECURRENT and reader.position == _RECURRENCE:
            if not node.output[0]:
                node.output[0] = self._lifter.name()
            read = [node.output[0], *read]
        data = tuple(self._output(scope, name) for name in read)
        held = self._output(scope, node.input[reader.position]) if reading.behind else ""
        kept = NodeProto()
        kept.CopyFrom(node)
        return Tap(weight, kept, reader.position, data, held)

    def _output(self, scope: Scope, name: str) -> str:
        key = (id(scope), name)
        if key not in self._lifted:
            wide = self._lifter.add(scope, "Cast", [name], to=TensorProto.FLOAT)
            self._lifted[key] = self._lifter.lift(scope, wide, self._absent, None)
        return self._lifted[key]


def _rearranges(reader: Reader) -> bool:
    """Return whether an operator gives the values on, in other places, alone or beside constants."""
    return reader.node.op_type == "Concat" or (reader.node.op_type in _REARRANGING and reader.position == 0)
