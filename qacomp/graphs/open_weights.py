"""Make weights of a model inputs, so that one session can run it with different weights."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from onnx import GraphProto, ModelProto, TensorProto, helper

from qacomp.graphs.walk import Scope, nested, replace_items

_OVERRIDABLE = 4  # the IR version from which on an initializer may be an input too, which is then its default


def with_open_weights(model: ModelProto, weights: Iterable[str]) -> list[str]:
    """Replace the tensors named `weights` by inputs of the model, in place, and return the names that are inputs now.

    A tensor in a function's body, or with a name that several tensors have, isn't replaced.
    """
    return list(_opened(model, weights))


def with_defaults(model: ModelProto, weights: Iterable[str]) -> list[str]:
    """Make inputs of `weights` whose defaults are their own values; gives those that are inputs.

    A run needs to be given none of them. What `with_open_weights` leaves stays here too.
    """
    opened = _opened(model, weights)
    model.graph.initializer.extend(opened.values())
    if opened and model.ir_version < _OVERRIDABLE:
        _leave_inputs(model, opened)
        model.ir_version = _OVERRIDABLE
    return list(opened)


def _leave_inputs(model: ModelProto, opened: Collection[str]) -> None:
    """Make the initializers no inputs that aren't `opened`: before IR version 4 all are, and mean constants."""
    constants = {tensor.name for tensor in model.graph.initializer} - set(opened)
    replace_items(model.graph.input, [value for value in model.graph.input if value.name not in constants])


def _opened(model: ModelProto, weights: Iterable[str]) -> dict[str, TensorProto]:
    """Make inputs of `weights`; return copies of the tensors that held them."""
    places = tensor_places(model.graph)
    known = {value.name for value in model.graph.input}
    opened = {}
    for name in weights:
        if name not in places:
            continue
        scope, tensor = places[name]
        opened[name] = TensorProto()
        opened[name].MergeFrom(tensor)
        opened[name].name = name
        held = [i for i, t in enumerate(scope.initializer) if t.name == name] if isinstance(scope, GraphProto) else []
        if held:
            del scope.initializer[held[0]]
        else:
            made = next(i for i, n in enumerate(scope.node) if n.op_type == "Constant" and n.output[:1] == [name])
            del scope.node[made]
        if name not in known:
            model.graph.input.append(helper.make_tensor_value_info(name, tensor.data_type, list(tensor.dims)))
    return opened


def tensor_places(graph: GraphProto) -> dict[str, tuple[Scope, TensorProto]]:
    """Map the name of each constant tensor in a graph and its subgraphs to (scope, tensor); only unique names."""
    places: dict[str, tuple[Scope, TensorProto]] = {}
    twice = set()
    for scope in nested(graph):
        held = [(t.name, t) for t in scope.initializer] if isinstance(scope, GraphProto) else []
        for node in scope.node:
            if node.op_type == "Constant" and node.output:
                held += [(node.output[0], a.t) for a in node.attribute if a.HasField("t")]
        for name, tensor in held:
            twice |= {name} & places.keys()
            places[name] = (scope, tensor)
    return {name: place for name, place in places.items() if name not in twice}
