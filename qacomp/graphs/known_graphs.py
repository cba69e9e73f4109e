"""Export each form of a network once in a run: a search packs it many times, with other values of the same tensors."""

from collections.abc import Collection
from typing import Any

from torch import nn

from qacomp.batches.feed import tensors_of
from qacomp.graphs.export_inputs import ExportInputs
from qacomp.graphs.network import export_dense
from qacomp.graphs.weightless import initializer_names, strip_weights
from qacomp.models.weight_places import tied_names


class KnownGraphs:
    """The graphs that one network was exported to, without the values of its weights."""

    def __init__(self) -> None:
        self._graphs: dict[object, bytes] = {}

    def weightless(
        self, model: nn.Module, inputs: ExportInputs, tensors: Collection[str], *, all_submodels: bool = False
    ) -> bytes:
        """Return the graph of `export_dense`, serialized, without the data of the initializers among `tensors`.

        A graph that was exported before is returned again if the modules, the shapes and all tensors beside `tensors`
        are the same: weights are inputs of the exported graph, so their values don't change it. Raises ExportError.
        """
        key = _form(model, inputs, tensors), all_submodels
        if key not in self._graphs:
            exported = export_dense(model, inputs, all_submodels=all_submodels)
            held = [name for name in initializer_names(exported) if name in tensors]
            self._graphs[key] = strip_weights(exported, held)
        return self._graphs[key]


def _form(model: nn.Module, inputs: ExportInputs, tensors: Collection[str]) -> object:
    """Return all that a graph without weights depends on, of two copies of one network."""

    def told(name: str, value: Any) -> object:
        own = value.detach().cpu()
        return name, own.dtype, tuple(own.shape), None if name in tensors else own.numpy().tobytes()

    state = tuple(told(name, value) for name, value in model.state_dict().items())
    fed = tuple((tuple(tensor.shape), tensor.dtype) for tensor in tensors_of(inputs.feed))
    return repr(model), state, tuple(tied_names(model).items()), inputs.names, fed
