"""Compute the weights of a written ONNX file with onnxruntime from the file's nodes, to verify an export."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from qacomp.errors import ExportError, StoppedRunError
from qacomp.graphs.constants import scopes
from qacomp.graphs.walk import Scope
from qacomp.runtime.limits import limited_runs, measuring
from qacomp.runtime.session import line, open_session


def written_weights(model: onnx.ModelProto, dtypes: Mapping[str, int]) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield (name, value) of the constants in `dtypes`, one at a time; names that aren't in the model are left out.

    dtypes: ONNX element type by value name. A weight that nodes make is computed by running these nodes alone, also in
    subgraphs and functions, since they depend on constants only. Raises ExportError if onnxruntime refuses the nodes.
    """
    found: set[str] = set()
    tops: dict[int, Scope] = {id(model): model.graph} | {id(f): f for f in model.functions}
    for home, scope in scopes(model):
        top = tops[id(home)]
        inner = _constants(top) | _constants(scope)
        made = _makers(top) | _makers(scope)
        own = _constants(scope).keys() | _makers(scope).keys()
        for name in [name for name in dtypes if name in own and name not in found]:
            found.add(name)
            if name in inner:
                yield name, numpy_helper.to_array(inner[name])
            else:
                yield name, _run(home.opset_import, max(model.ir_version, 4), inner, made, name, dtypes[name])


def _constants(scope: Scope) -> dict[str, onnx.TensorProto]:
    return {t.name: t for t in scope.initializer} if isinstance(scope, onnx.GraphProto) else {}


def _makers(scope: Scope) -> dict[str, onnx.NodeProto]:
    return {output: node for node in scope.node for output in node.output}


def _run(
    opsets: Sequence[onnx.OperatorSetIdProto],
    ir_version: int,
    constants: dict[str, onnx.TensorProto],
    makers: dict[str, onnx.NodeProto],
    name: str,
    dtype: int,
) -> NDArray[Any]:
    """Compute one weight in a model of its own, since a model of all weights may be too large to serialize."""
    nodes: dict[int, onnx.NodeProto] = {}
    used: dict[str, onnx.TensorProto] = {}
    _collect([name], constants, makers, nodes, used)
    output = helper.make_tensor_value_info(name, dtype, None)
    graph = helper.make_graph(list(nodes.values()), "weights", [], [output], list(used.values()))
    small = helper.make_model(graph, opset_imports=opsets, ir_version=ir_version)
    try:
        with limited_runs(measuring().limits):  # fresh limits, since these nodes are qacomp's own, not the user's model
            value: NDArray[Any] = open_session(small, threads=1).run([name], {})[0]
    except StoppedRunError:
        raise
    except ExportError as error:
        raise ExportError(f"{name}: onnxruntime can't compute it ({line(error)}); decode with --onnx dense") from error
    return value


def _collect(
    names: Collection[str],
    constants: dict[str, onnx.TensorProto],
    makers: dict[str, onnx.NodeProto],
    nodes: dict[int, onnx.NodeProto],
    used: dict[str, onnx.TensorProto],
) -> None:
    """Collect the nodes that make `names`, in the order of computation, and the constants that they read."""
    waiting = [(name, False) for name in reversed(list(names))]
    seen: set[int] = set()
    while waiting:
        name, ready = waiting.pop()
        if name in constants:
            used[name] = constants[name]
            continue
        node = makers.get(name)
        if node is None:
            continue
        if ready:
            nodes[id(node)] = node
        elif id(node) not in seen:
            seen.add(id(node))
            waiting.append((name, True))
            waiting += [(entry, False) for entry in reversed(node.input)]
