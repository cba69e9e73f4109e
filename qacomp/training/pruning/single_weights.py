"""Layers whose single weights are pruned, although nobody knows what reads their channels: none of these is removed."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from torch import nn

from qacomp.checkpoints.tensors import few
from qacomp.errors import ConfigError
from qacomp.graphs.export_inputs import ExportInputs
from qacomp.models.weight_places import other_places
from qacomp.training.pruning.channels import ChannelGraph, PrunableLayer, trace_channels
from qacomp.training.pruning.units import Units, find_units

_KINDS = (
    nn.Linear,
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)
_NOTHING = ChannelGraph((), {}, 0, np.zeros(0, bool), ())


def weight_units(
    model: nn.Module, example: tuple[int, ...] | ExportInputs, name: str, note: Callable[[str], None]
) -> Units:
    """Return units that hold every layer with a matrix or kernels of its own; `name`: the pruning method's.

    Channels are known in a network that can be traced, and of the layers that the walk over it knows. All others stay.
    note: told in a line why channels aren't known, and which matrices aren't pruned: tied ones, tables of look-ups,
    recurrent ones. Raises ConfigError if no layer is left.
    """
    try:
        graph = trace_channels(model, example)
    except ConfigError as error:
        graph = _NOTHING
        reason = str(error).removeprefix("--prune: ").partition(";")[0]
        note(f"--prune {name}: {reason}, so no channels are removed from the tensors")
    graph = _with_others(graph, model)
    if not graph.layers:
        raise ConfigError(f"--prune {name}: no layer of this network can be pruned; use --prune none")
    pruned = {f"{layer.name}.weight" for layer in graph.layers}
    if whole := [n for n, parameter in model.named_parameters() if parameter.ndim > 1 and n not in pruned]:
        note(f"--prune {name}: not pruned, since they are tied, tables, or of another kind: {few(whole)}")
    return find_units(graph)


def _with_others(graph: ChannelGraph, model: nn.Module) -> ChannelGraph:
    """Return the graph with the layers that it lacks, all of whose channels stay."""
    layers, atoms = list(graph.layers), graph.atoms
    for name, (outputs, inputs) in _others(model, {layer.name for layer in graph.layers}):
        reads, writes = np.arange(atoms, atoms + inputs), np.arange(atoms + inputs, atoms + inputs + outputs)
        layers.append(PrunableLayer(name, isinstance(model.get_submodule(name), nn.Linear), reads, writes, 1, None))
        atoms += inputs + outputs
    pinned = np.concatenate([graph.pinned, np.ones(atoms - graph.atoms, bool)])
    added = tuple(layer.name for layer in layers[len(graph.layers) :])  # as outputs: they keep their biases
    return replace(graph, layers=tuple(layers), atoms=atoms, pinned=pinned, output=graph.output + added)


def _others(model: nn.Module, known: set[str]) -> Iterator[tuple[str, tuple[int, int]]]:
    """Yield names, and the first two sizes of the weights, of the layers that aren't known and aren't tied."""
    tied = {name for first, others in other_places(model).items() for name in (first, *others)}
    for name, module in model.named_modules():
        if isinstance(module, _KINDS) and name not in known and f"{name}.weight" not in tied:
            yield name, (module.weight.shape[0], module.weight.shape[1])
