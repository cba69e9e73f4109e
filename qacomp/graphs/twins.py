"""Add twins to a model's operators, which run with other weights, and measure the error of each result.

Each operator that reads a weight gets a twin, which reads the same inputs and, instead of the weight, an added input of
the model. Two added outputs are the sum of squared differences between the two results and the sum of squares of the
first. So one run of the original's activations gives the error of every weight at the operator that uses it, and the
same model serves for any other weights.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, inliner, numpy_helper

from qacomp.graphs.lifting import Lifter
from qacomp.graphs.open_weights import tensor_places
from qacomp.graphs.walk import Scope, nested

PREFIX = "qacomp.twin."
_RESHAPING = ("Transpose", "Reshape", "Unsqueeze", "Squeeze", "Flatten")
_PASSING = ("Identity", "Cast", *_RESHAPING, "Slice", "Split", "DequantizeLinear")
_BIASED = ("Conv", "ConvTranspose", "Gemm")  # their bias is left out, since a large bias would hide the error
_MOST_HOPS, _MOST_READERS = 8, 8


@dataclass(frozen=True)
class Probe:
    """One operator that reads a weight. op: its type; error, size: outputs that hold the two sums of squares."""

    weight: str
    op: str
    error: str
    size: str


@dataclass(frozen=True)
class Twins:
    """A model with twins. inputs: name of the added input of each weight; probes: the operators with added outputs."""

    model: ModelProto
    inputs: dict[str, str]
    probes: tuple[Probe, ...]

    @property
    def outputs(self) -> list[str]:
        """Return the names of all added outputs."""
        return [name for probe in self.probes for name in (probe.error, probe.size)]


def with_twins(model: ModelProto, weights: Iterable[str]) -> Twins:
    """Give a twin to each operator that reads one of `weights` (names of float values, unique in the model).

    A weight in a loop's body, or one that no operator reads, gets no probe. Local functions are inlined first. `model`
    is changed.
    """
    if model.functions:
        model = inliner.inline_local_functions(model)
    places = tensor_places(model.graph)
    builder = _Builder(model.graph)
    inputs, probes = {}, []
    for number, weight in enumerate(weights):
        place = places.get(weight)
        if place is None:
            continue
        twin = f"{PREFIX}{number}"
        found = builder.probes(weight, place[1], place[0], twin)
        if found:
            model.graph.input.append(helper.make_tensor_value_info(twin, place[1].data_type, list(place[1].dims)))
            inputs[weight] = twin
            probes += found
    return Twins(model, inputs, tuple(probes))


class _Builder:
    """Adds twins to a graph."""

    def __init__(self, graph: GraphProto) -> None:
        self._lifter = Lifter(graph, PREFIX)
        self._absent = numpy_helper.from_array(np.array(-1, np.float32))

    def probes(self, weight: str, tensor: TensorProto, scope: Scope, twin: str) -> list[Probe]:
        """Add probes to the operators that read a weight, at most eight, and return them.

        Operators that only rearrange it are passed by, all parts of it together.
        """
        renamed, hops = {weight: twin}, {weight: _MOST_HOPS}
        found: list[Probe] = []
        for inner in list(nested(scope)):
            if inner is not scope and not self._lifter.reachable(inner):
                continue
            for node in list(inner.node):
                read = [name for name in node.input if name in renamed]
                if not read or node.op_type == "Constant" or any(o.startswith(PREFIX) for o in node.output):
                    continue
                left = min(hops[name] for name in read)
                if left and _passes(node, renamed):
                    twins = list(self._copy(inner, node, renamed).output)
                    renamed |= {o: own for o, own in zip(node.output, twins, strict=True) if o}
                    hops |= {o: left - 1 for o in node.output if o}
                elif len(found) < _MOST_READERS and self._lifter.reachable(inner):
                    found += self._probe(weight, inner, node, renamed)
        return found

    def _probe(self, weight: str, scope: Scope, node: NodeProto, renamed: dict[str, str]) -> list[Probe]:
        twin = self._copy(scope, node, renamed)
        own = node
        if node.op_type in _BIASED and len(node.input) > 2:
            own = self._copy(scope, node, {})
            del own.input[2:], twin.input[2:]
        place = next((i for i, name in enumerate(node.output) if name), None)
        if place is None:
            return []
        a, b = self._wide(scope, own.output[place]), self._wide(scope, twin.output[place])
        difference = self._lifter.add(scope, "Sub", [a, b])
        sums = [self._lifter.add(scope, "ReduceSumSquare", [name], keepdims=0) for name in (difference, a)]
        error, size = (self._lifter.lift(scope, name, self._absent, []) for name in sums)
        return [Probe(weight, node.op_type, error, size)]

    def _wide(self, scope: Scope, name: str) -> str:
        return self._lifter.add(scope, "Cast", [name], to=TensorProto.FLOAT)

    def _copy(self, scope: Scope, node: NodeProto, renamed: dict[str, str]) -> NodeProto:
        """Add a copy of a node with renamed inputs, at the end of the scope, where all values exist."""
        twin: NodeProto = scope.node.add()
        twin.CopyFrom(node)
        twin.name = ""
        for i, name in enumerate(node.input):
            twin.input[i] = renamed.get(name, name)
        for i, name in enumerate(node.output):
            twin.output[i] = self._lifter.name() if name else ""
        return twin


def _passes(node: NodeProto, renamed: Collection[str]) -> bool:
    """Return whether an operator only gives a weight on, in other places: what reads its result is looked at."""
    return node.op_type == "Concat" or (node.op_type in _PASSING and node.input[0] in renamed)
