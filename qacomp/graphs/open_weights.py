"""A model whose weights are inputs, so that one session serves any number of them."""

from __future__ import annotations

from collections.abc import Iterable

from onnx import GraphProto, ModelProto, helper

from qacomp.graphs.twins import tensor_places


def with_open_weights(model: ModelProto, weights: Iterable[str]) -> list[str]:
    """Make inputs of `weights`, names of values, in place of the tensors that hold them; gives those that are inputs.

    What stands in a function's body, or is the name of several tensors, stays as it is.
    """
    places = tensor_places(model.graph)
    known = {value.name for value in model.graph.input}
    opened = []
    for name in weights:
        if name not in places:
            continue
        scope, tensor = places[name]
        kind, dims = tensor.data_type, list(tensor.dims)
        held = [i for i, t in enumerate(scope.initializer) if t.name == name] if isinstance(scope, GraphProto) else []
        if held:
            del scope.initializer[held[0]]
        else:
            made = next(i for i, n in enumerate(scope.node) if n.op_type == "Constant" and n.output[:1] == [name])
            del scope.node[made]
        if name not in known:
            model.graph.input.append(helper.make_tensor_value_info(name, kind, dims))
        opened.append(name)
    return opened
