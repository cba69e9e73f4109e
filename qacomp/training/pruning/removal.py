"""Remove dead channels: filters whose output is always zero or is never read, and the inputs that read them.

The network's outputs don't change: a channel is removed only if it is zero for every input, or nothing depends on it.
Channels that are added to each other can only be removed together. So a dead filter stays, as zeros, if its output is
added to a channel that is alive; a note reports it. Up to three dead filters also stay to fill a convolution to a
multiple of four channels, since the next convolution runs faster then.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from qacomp.training.pruning.channels import ChannelGraph
from qacomp.training.pruning.counting import Alive, alive
from qacomp.training.pruning.units import Units

_MULTIPLE, _LEAST = 4, 16
"""onnxruntime's fast convolutions (AVX-512) need at least 16 input channels, and a multiple of four; with other numbers
it uses slower ones: 39 channels take a fifth longer than 40."""


@dataclass(frozen=True)
class LayerRemoval:
    """One layer: its outputs and inputs before, how many are alive, and how many are left (some may be dead).

    filling: dead outputs that are left to make a multiple of four.
    """

    name: str
    outputs: int
    alive_outputs: int
    left_outputs: int
    inputs: int
    alive_inputs: int
    left_inputs: int
    filling: int


def alive_values(model: nn.Module, units: Units) -> Alive:
    """Return the channels that are alive, from the zeros in the network's weights; the arrays have S = 1."""
    connections: dict[str, Any] = {}  # bool (outputs, inputs)
    constant: dict[str, NDArray[np.bool_]] = {}  # (outputs,)
    for layer in units.graph.layers:
        used = model.get_parameter(f"{layer.name}.weight").detach() != 0
        connections[layer.name] = (used if layer.dense else used.flatten(2).any(dim=2)).cpu().numpy()
        constant[layer.name] = _constant(model, layer.name, layer.norm)
    outputs = {n: (c.any(axis=1) | constant[n])[None] for n, c in connections.items()}
    inputs = {n: c.any(axis=0)[None] for n, c in connections.items()}
    while True:
        found = alive(units, outputs, inputs)
        fewer_outputs, fewer_inputs = {}, {}
        for name, c in connections.items():
            read = c & found.inputs[name][0]  # (outputs, inputs)
            fewer_outputs[name] = outputs[name] & (read.any(axis=1) | constant[name])
            fewer_inputs[name] = inputs[name] & (c & found.outputs[name].T).any(axis=0)
        if all(_same(outputs[n], fewer_outputs[n]) and _same(inputs[n], fewer_inputs[n]) for n in connections):
            return found
        outputs, inputs = fewer_outputs, fewer_inputs


def _constant(model: nn.Module, name: str, norm: str | None) -> NDArray[np.bool_]:
    """Return whether each filter would have a non-zero output if its weights were all zero: (outputs,)."""
    last = model.get_submodule(norm or name)
    vectors = [last.bias] if norm is None else [last.weight, last.bias]
    present = [v for v in vectors if isinstance(v, Tensor)]
    if norm is not None and not present:  # a batch norm without scale and shift turns zeros into a constant
        return np.ones(len(model.get_parameter(f"{name}.weight")), bool)
    rows = len(model.get_parameter(f"{name}.weight"))
    if any(len(v) != rows for v in present):  # of a transposed convolution, whose first axis are its inputs
        return np.ones(rows, bool)
    none = torch.zeros(rows, dtype=torch.bool)
    return np.asarray(torch.stack([none, *((v != 0).cpu() for v in present)]).any(dim=0).numpy())


def _same(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> bool:
    return bool((a == b).all())


def remove_dead(model: nn.Module, units: Units, *, keep: bool = False) -> tuple[LayerRemoval, ...]:
    """Remove the dead channels of `model` in place, with unchanged outputs; return one row for each layer.

    If a batch norm follows a convolution, its scale and shift decide whether a filter is dead. A layer whose channels
    are all dead keeps one. keep: remove none, only count them.
    """
    graph = units.graph
    found = alive_values(model, units)
    left = np.ones_like(found.atoms[0]) if keep else graph.left(found.atoms[0])  # (atoms,)
    filling = {layer.name: 0 if layer.dense else _fill(left, layer.writes) for layer in graph.layers}
    rows = []
    for layer in graph.layers:
        outputs = np.flatnonzero(left[layer.writes])
        inputs = np.flatnonzero(np.repeat(left[layer.reads], layer.spread))
        rows.append(
            LayerRemoval(
                layer.name,
                len(layer.writes),
                int(found.outputs[layer.name].sum()),
                len(outputs),
                layer.inputs,
                int(found.inputs[layer.name].sum()),
                len(inputs),
                filling[layer.name],
            )
        )
        if len(outputs) < len(layer.writes) or len(inputs) < layer.inputs:
            _shrink_layer(model.get_submodule(layer.name), outputs, inputs)
    for name, atoms in graph.norms.items():
        _shrink_norm(model.get_submodule(name), np.flatnonzero(left[atoms]))
    return tuple(rows)


def _fill(left: NDArray[np.bool_], writes: NDArray[np.int64]) -> int:
    """Set `left` for some dead channels of a convolution to make a multiple of four; return how many."""
    living = int(left[writes].sum())
    fillers = writes[~left[writes]][: -living % _MULTIPLE if living >= _LEAST else 0]
    left[fillers] = True
    return len(fillers)


def _shrink_layer(module: nn.Module, outputs: NDArray[np.int64], inputs: NDArray[np.int64]) -> None:
    assert isinstance(module, nn.Conv2d | nn.Linear)
    weight = module.weight.detach()
    module.weight = nn.Parameter(weight[_on(outputs, weight)][:, _on(inputs, weight)].contiguous())
    if module.bias is not None:
        module.bias = nn.Parameter(module.bias.detach()[_on(outputs, weight)])
    if isinstance(module, nn.Conv2d):
        module.out_channels, module.in_channels = len(outputs), len(inputs)
    else:
        module.out_features, module.in_features = len(outputs), len(inputs)


def _shrink_norm(module: nn.Module, channels: NDArray[np.int64]) -> None:
    assert isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)
    for name in ("weight", "bias"):
        value = getattr(module, name)
        if value is not None:
            setattr(module, name, nn.Parameter(value.detach()[_on(channels, value)]))
    for name in ("running_mean", "running_var"):
        value = getattr(module, name)
        if value is not None:
            setattr(module, name, value[_on(channels, value)])
    module.num_features = len(channels)


def _on(index: NDArray[np.int64], like: Tensor) -> Tensor:
    return torch.from_numpy(index).to(like.device)


def clear_dead(model: nn.Module, units: Units) -> None:
    """Set weights without effect to zero, in place: those that read only zeros, or whose output is never read."""
    found = alive_values(model, units)
    with torch.no_grad():
        for layer in units.graph.layers:
            weight = model.get_parameter(f"{layer.name}.weight")
            outputs, inputs = (
                torch.from_numpy(t[layer.name][0]).to(weight.device) for t in (found.outputs, found.inputs)
            )
            weight.mul_(outputs.view(-1, *[1] * (weight.ndim - 1)))
            weight.mul_(inputs.view(1, -1, *[1] * (weight.ndim - 2)))
            bias = getattr(model.get_submodule(layer.name), "bias", None)
            if bias is not None and len(bias) == len(outputs):
                bias.mul_(outputs)


def not_removable(rows: tuple[LayerRemoval, ...], graph: ChannelGraph) -> str | None:
    """Return one sentence for the user about dead filters and inputs that stay in the network, or None."""
    filters = {r.name: r.left_outputs - r.alive_outputs - r.filling for r in rows}
    filters = {name: count for name, count in filters.items() if count > 0}
    filling = {r.name: r.filling for r in rows if r.filling}
    inputs = {r.name: r.left_inputs - r.alive_inputs for r in rows if r.left_inputs > r.alive_inputs}
    parts = []
    if filters:
        names = ", ".join(f"{n} {c}" for n, c in filters.items())
        parts.append(f"{sum(filters.values())} dead filters whose output is added to a channel in use ({names})")
    if filling:
        names = ", ".join(f"{n} {c}" for n, c in filling.items())
        parts.append(f"{sum(filling.values())} dead filters that make a multiple of four channels ({names})")
    if inputs:
        names = ", ".join(f"{n} {c}" for n, c in inputs.items())
        parts.append(f"{sum(inputs.values())} dead inputs that read a channel in use ({names})")
    return f"not removed, but stored as zeros: {'; '.join(parts)}" if parts else None
