"""Report what pruning left, in parameters. Weights that read only zeros, or whose output is never read, don't count."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from qacomp.training.pruning.class_figures import ClassFigures
from qacomp.training.pruning.energy import SearchEpoch
from qacomp.training.pruning.removal import LayerRemoval, alive_values
from qacomp.training.pruning.units import Units

_VECTORS = ("weight", "bias")


@dataclass(frozen=True)
class PrunedLayer:
    """One layer's weight: the number of `weights` before pruning, of those `kept` (in use), and `left` (in the tensor).

    sparsity: 1 − kept / weights; outputs: (filters left, filters before); inputs: the same for input channels, or
    features of a dense layer.
    """

    name: str
    weights: int
    kept: int
    left: int
    sparsity: float
    outputs: tuple[int, int]
    inputs: tuple[int, int]


@dataclass(frozen=True)
class PruningReport:
    """The report of the prune stage.

    parameters: number before pruning; parameters_kept: number in use, and kept_share (R) their share; parameters_left:
    number in the network now, zeros included. units: number of filters and dense inputs, of which units_active are in
    use. search: epochs of energy pruning's search; frozen_after: epochs until its best state was frozen; full, pruned:
    figures of the whole network and of the pruned one on the test split (F and P in EPruning's table 1). stays: what
    is dead, but couldn't be removed.
    """

    method: str
    unit: str
    parameters: int
    parameters_kept: int
    kept_share: float
    parameters_left: int
    units: int
    units_active: int
    layers: tuple[PrunedLayer, ...]
    frozen_after: int | None = None
    search: tuple[SearchEpoch, ...] = ()
    stays: str | None = None
    full: ClassFigures | None = None
    pruned: ClassFigures | None = None

    def summary(self) -> dict[str, str | int | float]:
        """Return the entries that a container's metadata hold of this report."""
        names = ("method", "unit", "parameters", "parameters_kept", "kept_share", "parameters_left")
        return {name: getattr(self, name) for name in names}


def kept_parameters(model: nn.Module, units: Units) -> tuple[int, dict[str, int]]:
    """Count the parameters in use, of the network and of each layer's weight: non-zero, with effect on the output."""
    found = alive_values(model, units)
    total = sum(p.numel() for p in model.parameters())
    weights: dict[str, int] = {}
    for layer in units.graph.layers:
        weight = model.get_parameter(f"{layer.name}.weight").detach()
        outputs, inputs = (torch.from_numpy(t[layer.name][0]).to(weight.device) for t in (found.outputs, found.inputs))
        used = (weight != 0).flatten(2).sum(2) if weight.ndim > 2 else (weight != 0).long()  # (outputs, inputs)
        weights[layer.name] = int((used * outputs[:, None] * inputs[None, :]).sum())
        dead = int((~outputs).sum())
        vectors = [getattr(model.get_submodule(n), v, None) for n in (layer.name, layer.norm) if n for v in _VECTORS]
        total -= weight.numel() - weights[layer.name]
        total -= dead * sum(isinstance(v, torch.Tensor) and v.ndim == 1 for v in vectors)
    return total, weights


def active_units(model: nn.Module, units: Units) -> int:
    """Count the filters and dense inputs that are alive."""
    found = alive_values(model, units)
    sides = [found.inputs[layer.name] if layer.dense else found.outputs[layer.name] for layer in units.graph.layers]
    return int(sum(np.count_nonzero(side) for side in sides))


def pruned_layers(rows: tuple[LayerRemoval, ...], kept: dict[str, int], kernels: dict[str, int]) -> list[PrunedLayer]:
    """Return the rows of the report. kept: weights in use by layer; kernels: weights of one filter and channel."""
    layers = []
    for r in rows:
        weights = r.outputs * r.inputs * kernels[r.name]
        left = r.left_outputs * r.left_inputs * kernels[r.name]
        sparsity = 1 - kept[r.name] / weights
        layers.append(
            PrunedLayer(
                f"{r.name}.weight",
                weights,
                kept[r.name],
                left,
                sparsity,
                (r.left_outputs, r.outputs),
                (r.left_inputs, r.inputs),
            )
        )
    return layers
