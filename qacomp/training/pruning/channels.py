"""Find which layer reads which channels, by a walk over the traced network.

Each output channel of a layer is an atom. Channels that are added to each other are one atom, since they can only be
kept or removed together. Poolings, ReLUs and batch norms pass their input's atoms on. Channels of operations that the
walk doesn't know are pinned: they are never removed.
"""

import operator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp
from torch.nn import functional

from qacomp.errors import ConfigError
from qacomp.graphs.export_inputs import ExportInputs
from qacomp.models._residual import OptionAShortcut
from qacomp.models.plain_modules import in_eval_mode
from qacomp.models.weight_places import other_places

Atoms = NDArray[np.int64]

# These keep the order of channels, and map a channel of zeros to zeros.
_KEEPING_MODULES = (
    nn.ReLU,
    nn.ReLU6,
    nn.MaxPool2d,
    nn.AvgPool2d,
    nn.AdaptiveAvgPool2d,
    nn.AdaptiveMaxPool2d,
    nn.Dropout,
    nn.Dropout2d,
    nn.Identity,
)
_KEEPING_FUNCTIONS = (
    torch.relu,
    functional.relu,
    functional.relu6,
    functional.max_pool2d,
    functional.avg_pool2d,
    functional.adaptive_avg_pool2d,
    functional.adaptive_max_pool2d,
    functional.dropout,
)
_PRUNED = (nn.Conv2d, nn.Linear, nn.BatchNorm1d, nn.BatchNorm2d)
_ADDITIONS = (operator.add, operator.iadd, torch.add)


@dataclass(frozen=True)
class PrunableLayer:
    """A convolution or dense layer. `reads` (inputs,) and `writes` (outputs,): the atoms of its channels.

    spread: how many neighbouring inputs of a dense layer come from one channel of a flattened feature map; else 1.
    norm: the batch norm that is the only reader of the output; its scale and shift of a channel belong to the filter,
    like the filter's bias.
    """

    name: str
    dense: bool
    reads: Atoms
    writes: Atoms
    spread: int
    norm: str | None

    @property
    def vectors(self) -> tuple[str, ...]:
        """Return the names of the layer's bias and of the batch norm's scale and shift; they need not exist."""
        return (f"{self.name}.bias", *(f"{self.norm}.{n}" for n in ("weight", "bias") if self.norm))

    @property
    def inputs(self) -> int:
        """Return the number of input channels of a convolution, or of input features of a dense layer."""
        return len(self.reads) * self.spread


@dataclass(frozen=True)
class ChannelGraph:
    """The layers in the order in which they run, and the atoms that they read and write.

    norms: the atoms of each batch norm, by name; atoms: their number; pinned: (atoms,), True for atoms that must stay;
    output: names of the layers whose outputs are the network's outputs, directly or through poolings.
    """

    layers: tuple[PrunableLayer, ...]
    norms: dict[str, Atoms]
    atoms: int
    pinned: NDArray[np.bool_]
    output: tuple[str, ...]

    def layer(self, name: str) -> PrunableLayer:
        """Return the layer called `name`."""
        return next(layer for layer in self.layers if layer.name == name)

    def left(self, alive: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return which atoms stay in the network, (atoms,): those in `alive`, pinned ones, and at least one a layer."""
        left = alive | self.pinned
        for layer in self.layers:
            if not left[layer.writes].any():
                left[layer.writes[0]] = True
        return left


def trace_channels(model: nn.Module, example: tuple[int, ...] | ExportInputs) -> ChannelGraph:
    """Return the channel graph of a network, such as one that maps (N, C, H, W) to (N, classes); it isn't changed.

    The channels of all its outputs stay. example: the shape of one input, (C, H, W), or inputs. Raises ConfigError for
    a network that can't be traced (its forward branches on data), or that has tied weights.
    """
    for first, others in other_places(model).items():
        raise ConfigError(
            f"--prune: {others[0]} is tied to {first}, and tied weights can't be pruned; use --prune none"
        )
    try:
        inputs = example if isinstance(example, ExportInputs) else ExportInputs.of_shape(example)
        traced = fx.GraphModule(model, _Tracer().trace(model))
        device = next((p.device for p in model.parameters()), torch.device("cpu"))
        with in_eval_mode(model), torch.no_grad():
            ShapeProp(traced).propagate(*inputs.in_order(model, device))
    except Exception as error:  # the tracer runs the user's forward, which may raise anything
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(
            f"--prune: this network can't be traced with torch.fx ({reason}); use --prune none"
        ) from error
    return _Walk(traced, dict(model.named_modules())).graph()


class _Tracer(fx.Tracer):
    """A tracer that doesn't look into option-A shortcuts, whose padding of channels the walk knows."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, OptionAShortcut) or super().is_leaf_module(m, module_qualified_name)


class _Walk:
    """One pass over the nodes of the traced network; `parent` (union-find) joins channels that are added."""

    def __init__(self, traced: fx.GraphModule, modules: dict[str, nn.Module]) -> None:
        self.traced, self.modules = traced, modules
        self.parent: list[int] = []
        self.pins: set[int] = set()
        self.of: dict[fx.Node, Atoms] = {}
        self.spread: dict[fx.Node, int] = {}
        self.found: list[tuple[str, bool, Atoms, Atoms, int, str | None]] = []
        self.norms: dict[str, Atoms] = {}
        self.outputs: list[int] = []

    def graph(self) -> ChannelGraph:
        for node in self.traced.graph.nodes:
            self._visit(node)
        roots = np.array([self._root(i) for i in range(len(self.parent))], np.int64)
        _, number = np.unique(roots, return_inverse=True)
        pinned = np.zeros(int(number.max(initial=-1)) + 1, bool)
        pinned[number[sorted(self.pins)]] = True
        layers = tuple(
            PrunableLayer(name, dense, number[reads], number[writes], spread, norm)
            for name, dense, reads, writes, spread, norm in self.found
        )
        ends = set(number[self.outputs].tolist())
        output = tuple(layer.name for layer in layers if ends & set(layer.writes.tolist()))
        return ChannelGraph(layers, {n: number[a] for n, a in self.norms.items()}, len(pinned), pinned, output)

    def _visit(self, node: fx.Node) -> None:
        spread = 1
        if node.op == "placeholder":
            atoms = self._fresh((*_shape(node), 0, 0)[1], pinned=True)
        elif node.op == "get_attr" and isinstance(self.modules.get(str(node.target).rpartition(".")[0]), _PRUNED):
            raise ConfigError(f"--prune: {node.target} is also used outside of its layer; use --prune none")
        elif node.op == "output":
            for source in node.all_input_nodes:
                self._pin(self.of[source])
                self.outputs += self.of[source].tolist()
            return
        elif node.op == "call_module":
            atoms, spread = self._module(node, self.modules[str(node.target)])
        elif node.op == "call_function" and node.target in _ADDITIONS:
            left, right = (self.of.get(a) if isinstance(a, fx.Node) else None for a in node.args[:2])
            atoms = self._joined(node, left, right)
        elif node.op == "call_function" and node.target is torch.cat and _axis(node) == 1:
            atoms = np.concatenate([self.of[a] for a in node.args[0]])  # type: ignore[union-attr,index]
        elif node.op == "call_function" and node.target in _KEEPING_FUNCTIONS:
            atoms = self.of[_first(node)]
        elif _flattens(node, self.modules):
            atoms, spread = self._flattened(_first(node))
        else:
            atoms = self._unknown(node)
        self.of[node], self.spread[node] = atoms, spread

    def _module(self, node: fx.Node, module: nn.Module) -> tuple[Atoms, int]:
        source = _first(node)
        given, spread = self.of[source], self.spread[source]
        name = str(node.target)
        if any(found[0] == name for found in self.found):
            raise ConfigError(f"--prune: layer {name} is used twice in the network; use --prune none")
        if isinstance(module, nn.Conv2d) and module.groups == 1 and len(given) == module.in_channels:
            made = self._fresh(module.out_channels)
            self.found.append((name, False, given, made, 1, self._norm(node)))
            return made, 1
        if isinstance(module, nn.Linear) and (len(_shape(source)), len(given) * spread) == (2, module.in_features):
            made = self._fresh(module.out_features)
            self.found.append((name, True, given, made, spread, self._norm(node)))
            return made, 1
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            self.norms[name] = given
            if source.op != "call_module" or self._norm(source) != name:
                self._pin(given)  # the norm's shift turns a channel of zeros into a constant
            return given, spread
        if isinstance(module, OptionAShortcut):  # its padding is fixed, so its inputs and outputs must stay
            self._pin(given)
            before, after = (self._fresh(module.padding, pinned=True) for _ in range(2))
            return np.concatenate([before, given, after]), 1
        if isinstance(module, _KEEPING_MODULES):
            return given, spread
        if isinstance(module, nn.Flatten):
            return self._flattened(source)
        return self._unknown(node), 1

    def _norm(self, node: fx.Node) -> str | None:
        """Return the name of the batch norm that is the only reader of `node`'s output, or None."""
        users = list(node.users)
        if len(users) == 1 and users[0].op == "call_module":
            name = str(users[0].target)
            if isinstance(self.modules[name], nn.BatchNorm1d | nn.BatchNorm2d):
                return name
        return None

    def _joined(self, node: fx.Node, left: Atoms | None, right: Atoms | None) -> Atoms:
        if left is None or right is None or len(left) != len(right):
            return self._unknown(node)
        for a, b in zip(left, right, strict=True):
            self.parent[self._root(int(a))] = self._root(int(b))
        return left

    def _flattened(self, source: fx.Node) -> tuple[Atoms, int]:
        shape = _shape(source)
        return self.of[source], self.spread[source] * int(np.prod(shape[2:]))

    def _unknown(self, node: fx.Node) -> Atoms:
        for given in node.all_input_nodes:
            if given in self.of:
                self._pin(self.of[given])
        shape = _shape(node)
        return self._fresh(shape[1] if len(shape) > 1 else 0, pinned=True)

    def _fresh(self, count: int, *, pinned: bool = False) -> Atoms:
        start = len(self.parent)
        self.parent += range(start, start + count)
        atoms = np.arange(start, start + count)
        if pinned:
            self._pin(atoms)
        return atoms

    def _pin(self, atoms: Atoms) -> None:
        self.pins.update(atoms.tolist())

    def _root(self, atom: int) -> int:
        while self.parent[atom] != atom:
            self.parent[atom] = self.parent[self.parent[atom]]
            atom = self.parent[atom]
        return atom


def _first(node: fx.Node) -> fx.Node:
    return node.all_input_nodes[0]


def _shape(node: fx.Node) -> tuple[int, ...]:
    meta: Any = node.meta.get("tensor_meta")
    return tuple(meta.shape) if hasattr(meta, "shape") else ()


def _axis(node: fx.Node) -> int:
    axis = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
    return int(axis) if isinstance(axis, int) else -1


def _flattens(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    """Return whether the node flattens (N, C, H, W) to (N, C * H * W)."""
    flatten = node.op == "call_function" and node.target is torch.flatten
    method = node.op == "call_method" and node.target in ("flatten", "view", "reshape")
    if not (flatten or method) or not node.all_input_nodes:
        return False
    before, after = _shape(_first(node)), _shape(node)
    return len(after) == 2 and len(before) >= 2 and after[1] == int(np.prod(before[1:]))
