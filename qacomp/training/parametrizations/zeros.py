"""Hold pruned weights, and zeros of the original network, at exactly zero in fine-tuning, sharing and tuning."""

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
    """A parametrization: weight · mask. Behind another parametrization it sets masked weights to zero again."""

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask)

    def forward(self, weight: Tensor) -> Tensor:
        """Return the weight times its mask, in its shape."""
        return weight * self.mask

    def right_inverse(self, weight: Tensor) -> Tensor:
        """Return the weight itself."""
        return weight


@dataclass(frozen=True)
class Zeros:
    """`masks`: state-dict name -> bool in the parameter's shape, False where it must stay zero.

    `few`: names of weights with so few zeros that the zero entry is added to the layer's K values, not one of them.
    """

    masks: Mapping[str, Tensor] = field(default_factory=dict)
    few: frozenset[str] = frozenset()

    def kept(self, name: str, weight: Tensor) -> Tensor:
        """Return the weights that the mask doesn't hold at zero, (n,); without a mask the weight as it is."""
        mask = self.masks.get(name)
        return weight if mask is None else weight[mask]

    def is_all_zero(self, name: str) -> bool:
        """Return whether the mask holds all of a weight at zero."""
        return name in self.masks and not bool(self.masks[name].any())

    def selection(self, selection: Selection, model: nn.Module) -> Selection:
        """Return the selection with the pruned network's shapes, and one shared value less in layers with zeros.

        The zero entry takes the place of that value. In layers with few zeros K stays, and the zero entry is added.
        """
        return replace(selection, layers=tuple(self._layer(layer, model) for layer in selection.layers))

    def _layer(self, layer: Layer, model: nn.Module) -> Layer:
        shape = tuple(model.get_parameter(layer.name).shape)
        return replace(layer, shape=shape, k=layer.k - (layer.name in self.masks and layer.name not in self.few))

    def under(self, prefix: str) -> "Zeros":
        """Return the same masks for a module that contains the network: `prefix` is put before every name."""
        return Zeros({prefix + name: mask for name, mask in self.masks.items()}, self.few)

    def beside(self, other: "Zeros") -> "Zeros":
        """Return these masks, and those of `other` for tensors that have none here."""
        return Zeros({**other.masks, **self.masks}, other.few - set(self.masks))

    def keep_zero(self, model: nn.Module, optimizer: Optimizer) -> None:
        """Hold the masked weights at zero during a training by `optimizer`, those with a parametrization too.

        After each step the parameters are multiplied by their masks. Shared weights need no mask: their zero entry is
        fixed.
        """
        masked: list[tuple[Tensor, Tensor]] = []
        for name, mask in self.masks.items():
            owner, leaf = split_name(model, name)
            if not parametrize.is_parametrized(owner, leaf):
                masked.append((owner.get_parameter(leaf), mask))
                continue
            chain = parametrizations(model, name)
            if not any(isinstance(p, (SharedWeight, GridWeight)) for p in chain):
                masked.append((chain.original, mask))
                parametrize.register_parametrization(owner, leaf, ZeroMask(mask))

        def after(*_: Any) -> None:
            with torch.no_grad():
                for parameter, mask in masked:
                    parameter.mul_(mask)

        optimizer.register_step_post_hook(after)

    def mask(self, name: str) -> NDArray[np.bool_] | None:
        """Return the mask of a weight as a numpy array, or None if it has none."""
        mask = self.masks.get(name)
        return None if mask is None else mask.cpu().numpy()


NO_ZEROS = Zeros()


def own_zeros(model: nn.Module, selection: Selection) -> Zeros:
    """Return masks of the exact zeros in the selected weights, such as padding rows or weights pruned earlier."""
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
    """Return masks of the exact zeros in the layers that `units` prunes, and in their biases and batch norms."""
    masks = {}
    for layer in units.graph.layers:
        known = dict(model.named_parameters())
        for name in (f"{layer.name}.weight", *layer.vectors):
            if name in known and bool((known[name] == 0).any()):
                masks[name] = (known[name] != 0).detach()
    return Zeros(masks)
