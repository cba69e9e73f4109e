"""Count the parameters that a state keeps; a filter's weights count only for input channels that can be non-zero.

One walk over the channel graph does it for a whole population. An atom is alive if some layer writes it, and some
layer that is itself needed reads it.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from qacomp.training.pruning.units import States, Units


@dataclass(frozen=True)
class Alive:
    """The channels that are alive under each of S states, True where alive.

    outputs: (S, outputs) and inputs: (S, inputs), by layer name; atoms: (S, atoms).
    """

    outputs: dict[str, NDArray[np.bool_]]
    inputs: dict[str, NDArray[np.bool_]]
    atoms: NDArray[np.bool_]


def alive(units: Units, outputs: dict[str, NDArray[np.bool_]], inputs: dict[str, NDArray[np.bool_]]) -> Alive:
    """Return the channels that depend on the network's input and reach its output.

    outputs, inputs: by layer name, which channels are switched on, (S, outputs) and (S, inputs).
    """
    graph = units.graph
    count = len(next(iter(outputs.values())))
    written = np.tile(graph.pinned, (count, 1))  # (S, atoms): may be non-zero
    for layer in graph.layers:
        written[:, layer.writes] |= outputs[layer.name]
    needed = np.tile(graph.pinned, (count, 1))
    kept_outputs, kept_inputs = {}, {}
    for layer in reversed(graph.layers):
        kept = outputs[layer.name] & needed[:, layer.writes]  # (S, outputs)
        source = np.repeat(written[:, layer.reads], layer.spread, axis=1)  # (S, inputs)
        read = inputs[layer.name] & source & kept.any(axis=1, keepdims=True)
        by_channel = read.reshape(count, -1, layer.spread).any(axis=2)  # (S, channels read)
        needed[:, layer.reads] |= by_channel
        kept_outputs[layer.name], kept_inputs[layer.name] = kept, read
    return Alive(kept_outputs, kept_inputs, written & needed)


def alive_units(units: Units, states: States) -> Alive:
    """Return the channels that are alive under the states (S, D)."""
    outputs, inputs = {}, {}
    for group in units.groups:
        layer, genes = group.layer, states[:, group.genes]
        every = np.ones((len(states), len(layer.writes) if layer.dense else layer.inputs), bool)
        outputs[layer.name], inputs[layer.name] = (every, genes) if layer.dense else (genes, every)
    return alive(units, outputs, inputs)


class ParameterCount:
    """Counts the parameters that states keep. `total`: all parameters of the network."""

    def __init__(self, model: nn.Module, units: Units) -> None:
        self.units = units
        self.total = sum(p.numel() for p in model.parameters())
        self.kernels: dict[str, int] = {}
        self.vectors: dict[str, int] = {}
        for group in units.groups:
            layer = group.layer
            module = model.get_submodule(layer.name)
            weight = model.get_parameter(f"{layer.name}.weight")
            self.kernels[layer.name] = int(weight[0, 0].numel())
            norm = model.get_submodule(layer.norm) if layer.norm else None
            vectors = [getattr(m, n, None) for m in (module, norm) for n in ("bias", "weight")]
            self.vectors[layer.name] = sum(isinstance(v, torch.Tensor) and v.ndim == 1 for v in vectors)
        rows = {g.layer.name: (len(g.layer.writes), g.layer.inputs) for g in units.groups}
        inside = sum(o * (i * self.kernels[n] + self.vectors[n]) for n, (o, i) in rows.items())
        self.outside = self.total - inside  # parameters that no state switches off

    def __call__(self, states: States) -> NDArray[np.int64]:
        """Count the parameters that each of the states (S, D) keeps: (S,)."""
        found = alive_units(self.units, states)
        kept = np.full(len(states), self.outside, np.int64)
        for name, kernel in self.kernels.items():
            outputs, inputs = found.outputs[name].sum(axis=1), found.inputs[name].sum(axis=1)
            kept += outputs * (inputs * kernel + self.vectors[name])
        return kept
