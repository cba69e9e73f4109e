"""Units, what is pruned as a whole: an output filter of a convolution with its bias, or an input of a dense layer.

(Salehinejad and Valaee, EPruning, section 2.2.) If a batch norm follows a convolution, its scale and shift of a channel
belong to the filter, since the shift acts as the bias. A state has one gene for each unit, True for active. The filters
of an output layer are classes, and their genes are always True.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from qacomp.models.weight_places import split_name
from qacomp.training.pruning.channels import ChannelGraph, PrunableLayer

States = NDArray[np.bool_]  # (S, D), or (D,) for one


@dataclass(frozen=True)
class UnitGroup:
    """One layer's units, the genes `start` .. `stop` of a state; `fixed`: they are classes, and always active."""

    layer: PrunableLayer
    start: int
    stop: int
    fixed: bool

    @property
    def genes(self) -> slice:
        """Return the slice of a state that holds this layer's genes."""
        return slice(self.start, self.stop)


@dataclass(frozen=True)
class Units:
    """All units of a network, in the order in which its layers run."""

    graph: ChannelGraph
    groups: tuple[UnitGroup, ...]

    @property
    def count(self) -> int:
        """Return D, the length of a state."""
        return self.groups[-1].stop if self.groups else 0

    @property
    def free(self) -> NDArray[np.bool_]:
        """Return which genes may become False: (D,) bool."""
        free = np.ones(self.count, bool)
        for group in self.groups:
            free[group.genes] = not group.fixed
        return free


def find_units(graph: ChannelGraph) -> Units:
    """Return the units of a traced network."""
    groups, start = [], 0
    for layer in graph.layers:
        stop = start + (layer.inputs if layer.dense else len(layer.writes))
        groups.append(UnitGroup(layer, start, stop, not layer.dense and layer.name in graph.output))
        start = stop
    return Units(graph, tuple(groups))


def parameter_masks(model: nn.Module, units: Units, state: NDArray[np.bool_]) -> dict[str, Tensor]:
    """Return masks by parameter name: bool, broadcastable, False for the units that the state (D,) switches off."""
    masks: dict[str, Tensor] = {}
    for group in units.groups:
        if group.fixed:
            continue
        layer = group.layer
        active = torch.from_numpy(np.ascontiguousarray(state[group.genes]))  # (units of the layer,)
        weight = model.get_parameter(f"{layer.name}.weight")
        active = active.to(weight.device)
        if layer.dense:
            masks[f"{layer.name}.weight"] = active[None, :]  # (1, inputs)
            continue
        masks[f"{layer.name}.weight"] = active.view(-1, *[1] * (weight.ndim - 1))  # (outputs, 1, 1, 1)
        for name in layer.vectors:
            if _parameter(model, name) is not None:
                masks[name] = active  # (outputs,)
    return masks


def apply_masks(model: nn.Module, masks: Mapping[str, Tensor]) -> None:
    """Set masked parameters to zero, in place; batch norm channels with scale and shift 0 get mean 0 and variance 1."""
    with torch.no_grad():
        for name, mask in masks.items():
            parameter = model.get_parameter(name)
            parameter.mul_(mask.to(parameter.device))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) and module.affine and module.running_var is not None:
            assert module.running_mean is not None
            dead = (module.weight == 0) & (module.bias == 0)  # (C,)
            module.running_mean[dead] = 0.0
            module.running_var[dead] = 1.0


def _parameter(model: nn.Module, name: str) -> Tensor | None:
    owner, leaf = split_name(model, name)
    parameter: Tensor | None = getattr(owner, leaf, None)
    return parameter
