"""Pruned weights stay exactly zero through fine-tuning, sharing and tuning, as do zeros that a network came with."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.optim import Optimizer

from qacomp.models.weight_places import parametrizations, split_name
from qacomp.sharing.selection import Layer, Selection
from qacomp.sharing.zero_entry import LEAST_K
from qacomp.training.parametrizations.grid import GridWeight
from qacomp.training.parametrizations.shared import SharedWeight
from qacomp.training.pruning.units import Units


class ZeroMask(nn.Module):
    """Parametrization: the weight times its mask. Put behind another one, it keeps zeros what that makes of them."""

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask)

    def forward(self, weight: Tensor) -> Tensor:
        """Any shape -> the same."""
        return weight * self.mask

    def right_inverse(self, weight: Tensor) -> Tensor:
        """The weight itself."""
        return weight


@dataclass(frozen=True)
class Zeros:
    """`masks`: state-dict name -> bool of the parameter's shape, False where it must stay zero.

    `few`: weights with so few zeros that these take an entry beside the layer's K, not one of them.
    """

    masks: Mapping[str, Tensor] = field(default_factory=dict)
    few: frozenset[str] = frozenset()

    def living(self, name: str, weight: Tensor) -> Tensor:
        """The weights that aren't held at zero: (n,), or the weight as it is where none is held."""
        mask = self.masks.get(name)
        return weight if mask is None else weight[mask]

    def emptied(self, name: str) -> bool:
        """Whether all of a weight is held at zero."""
        return name in self.masks and not bool(self.masks[name].any())

    def selection(self, selection: Selection, model: nn.Module) -> Selection:
        """The selection with the pruned network's shapes, and one shared value less in layers that hold zeros, but for
        those that hold few: zero is the one more."""
        return replace(selection, layers=tuple(self._layer(layer, model) for layer in selection.layers))

    def _layer(self, layer: Layer, model: nn.Module) -> Layer:
        shape = tuple(model.get_parameter(layer.name).shape)
        return replace(layer, shape=shape, k=layer.k - (layer.name in self.masks and layer.name not in self.few))

    def under(self, prefix: str) -> "Zeros":
        """The same for a module that has the network in it: every name behind the prefix."""
        return Zeros({prefix + name: mask for name, mask in self.masks.items()}, self.few)

    def beside(self, other: "Zeros") -> "Zeros":
        """These zeros, and the other's in tensors that hold none of these."""
        return Zeros({**other.masks, **self.masks}, other.few - set(self.masks))

    def hold(self, model: nn.Module, optimizer: Optimizer) -> None:
        """Keep the zeros through a training by `optimizer`, also behind a parametrization that was put on a weight.

        Weights that are shared already hold theirs by themselves.
        """
        held: list[tuple[Tensor, Tensor]] = []
        for name, mask in self.masks.items():
            owner, leaf = split_name(model, name)
            if not parametrize.is_parametrized(owner, leaf):
                held.append((owner.get_parameter(leaf), mask))
                continue
            chain = parametrizations(model, name)
            if not any(isinstance(p, (SharedWeight, GridWeight)) for p in chain):
                held.append((chain.original, mask))
                parametrize.register_parametrization(owner, leaf, ZeroMask(mask))

        def after(*_: Any) -> None:
            with torch.no_grad():
                for parameter, mask in held:
                    parameter.mul_(mask)

        optimizer.register_step_post_hook(after)

    def mask(self, name: str) -> NDArray[np.bool_] | None:
        """The mask of a weight for numpy, or None where it holds no zeros."""
        mask = self.masks.get(name)
        return None if mask is None else mask.cpu().numpy()


NO_ZEROS = Zeros()


def own_zeros(model: nn.Module, selection: Selection) -> Zeros:
    """The exact zeros of the selected weights: padding rows, or what an earlier pruning has left."""
    masks, few = {}, set()
    for layer in selection.layers:
        weight = model.get_parameter(layer.name).detach()
        mask = weight != 0
        zeros = mask.numel() - int(mask.sum())
        if zeros:
            masks[layer.name] = mask
            if layer.k < LEAST_K or zeros * layer.k < mask.numel():
                few.add(layer.name)
    return Zeros(masks, frozenset(few))


def find_zeros(model: nn.Module, units: Units) -> Zeros:
    """The exact zeros of the layers that hold units, and of their biases and batch norms."""
    masks = {}
    for layer in units.graph.layers:
        names = [f"{layer.name}.{n}" for n in ("weight", "bias")]
        names += [f"{layer.norm}.{n}" for n in ("weight", "bias") if layer.norm]
        known = dict(model.named_parameters())
        for name in names:
            if name in known and bool((known[name] == 0).any()):
                masks[name] = (known[name] != 0).detach()
    return Zeros(masks)


def with_zero(
    codebook: NDArray[np.floating], indices: NDArray[np.unsignedinteger], mask: NDArray[np.bool_]
) -> tuple[NDArray[np.floating], NDArray[np.unsignedinteger], int]:
    """The same sharing with masked weights at an entry of exact zero: (codebook (K',), indices, that entry's index).

    The codebook stays ascending where it was; entries that no living weight uses are dropped. A quantizer's level that
    is exactly zero is that entry.
    """
    used, renumbered = np.unique(indices[mask], return_inverse=True)
    values = codebook[used]
    place, held = int(np.searchsorted(values, 0.0)), bool((values == 0).any())
    book = values if held else np.insert(values, place, 0.0).astype(codebook.dtype)
    numbers = np.arange(used.size) + (np.arange(used.size) >= place if not held else 0)
    full = np.full(mask.shape, place, np.uint8 if book.size <= 256 else np.uint16)
    full[mask] = numbers[renumbered.reshape(-1)]
    return book, full, place
