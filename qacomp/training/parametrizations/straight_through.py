"""Straight-through weight sharing: the forward pass uses the nearest representative, the gradient passes to the weight.

Every layer keeps full-precision weights (the shadow weights), and its representatives u are trained beside them. A
weight that crosses a boundary changes its cluster, so the assignment is learned together with the values (Bengio et
al., 2013). The gradient of a representative is the mean over its weights, not the sum: so it moves like its average
weight, whatever the size of the layer.

With an entropy weight η a weight goes to the representative that minimises (w − u)² + η·s²·bits(u), where s is the mean
distance between neighbouring representatives and bits(u) is −log2 of the share of weights at u (entropy-constrained
quantization, Chou et al., 1989). For scalars this only moves each boundary towards the rarer of its two neighbours.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from qacomp.models.weight_places import is_parametrized_by, parametrizations, put_on, take_off
from qacomp.training.regularizers import Regularizer
from qacomp.training.regularizers.nearest import sum_by_level

_MEMORY = 0.99  # decay of the running mean of the clusters' shares


class Assign(torch.autograd.Function):
    """(weight, levels, index) -> levels[index]; the gradient goes to the weight, a level gets the mean of its weights'.

    Only weights where the mask is True count in the mean.
    """

    @staticmethod
    def forward(
        ctx: Any, weight: Tensor, levels: Tensor, index: Tensor, gain: float, mask: Tensor | None = None
    ) -> Tensor:
        """Return levels[index], in the weight's shape, from levels (K,) and an int64 index in the weight's shape.

        mask: in the weight's shape; where it is False the value has no meaning, and the incoming gradient must be zero.
        """
        ctx.save_for_backward(index, mask)
        ctx.k, ctx.gain = levels.numel(), gain
        return levels[index]

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        """Return the gradients of (weight, levels)."""
        index, mask = ctx.saved_tensors
        gradient = grad_outputs[0]
        counted = index.reshape(-1) if mask is None else index[mask]
        counts = torch.bincount(counted, minlength=ctx.k).clamp(min=1)  # (K,)
        summed = sum_by_level(gradient, index, ctx.k)  # (K,)
        return gradient, summed * (ctx.gain / counts.to(summed.dtype)), None, None, None


class StraightThrough(nn.Module):
    """Parametrizes one weight by its shadow weight. `levels_of`: the regularizer that holds the representatives.

    entropy: η; gain: factor on the gradient of the representatives, whose learning rate was chosen for the penalty.
    mask: in the weight's shape, False where the weight is pruned: it counts in no cluster, and a `ZeroMask` behind this
    sets it to zero. `shares` (K,): running mean of the share of weights in each cluster, updated in training mode.
    """

    shares: Tensor
    mask: Tensor | None

    def __init__(self, levels_of: Regularizer, entropy: float, gain: float = 1.0, mask: Tensor | None = None) -> None:
        super().__init__()
        self._levels_of = (levels_of,)  # a tuple, so that torch doesn't register its parameters here too
        self.entropy, self.gain = entropy, gain
        k = levels_of.representatives().numel()
        self.register_buffer("shares", torch.full((k,), 1.0 / k))
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, weight: Tensor) -> Tensor:
        """Map the shadow weight (any shape) to its shared values, same shape."""
        levels = self._levels_of[0].representatives().to(weight)  # (K,)
        index = self.index(weight.detach(), levels.detach())
        if self.training:
            counted = index.reshape(-1) if self.mask is None else index[self.mask]
            share = torch.bincount(counted, minlength=levels.numel()) / max(1, counted.numel())
            self.shares.mul_(_MEMORY).add_(share.to(self.shares), alpha=1 - _MEMORY)
        assigned: Tensor = Assign.apply(weight, levels, index, self.gain, self.mask)  # type: ignore[no-untyped-call]
        return assigned

    def right_inverse(self, weight: Tensor) -> Tensor:
        """Return the weight: a weight that is assigned becomes the shadow weight."""
        return weight

    def index(self, weight: Tensor, levels: Tensor) -> Tensor:
        """Return the index of each weight's representative: int64, in the weight's shape. levels: (K,) ascending."""
        boundaries = (levels[1:] + levels[:-1]) / 2  # (K − 1,)
        if self.entropy > 0 and levels.numel() > 1:
            gaps = (levels[1:] - levels[:-1]).clamp(min=1e-12)  # (K − 1,)
            bits = -torch.log2(self.shares.clamp(min=1e-4)).to(levels)  # (K,)
            shift = self.entropy * gaps.mean() ** 2 * (bits[1:] - bits[:-1]) / (2 * gaps)
            boundaries = torch.cummax(boundaries + shift, 0).values  # ascending, even if a shift exceeds a gap
        return torch.bucketize(weight, boundaries)


def install(
    model: nn.Module,
    name: str,
    levels_of: Regularizer,
    entropy: float,
    gain: float = 1.0,
    mask: Tensor | None = None,
) -> None:
    """Parametrize the weight `name` of `model` by `StraightThrough`; its shadow weight becomes the trained parameter.

    With a mask the caller adds a ZeroMask behind it (see `qacomp.training.parametrizations.zeros`).
    """
    put_on(model, name, StraightThrough(levels_of, entropy, gain, mask))


def is_straight_through(model: nn.Module, name: str) -> bool:
    """Return whether `install` has parametrized the weight `name` of `model`."""
    return is_parametrized_by(model, name, StraightThrough)


def harvest(model: nn.Module, name: str) -> tuple[NDArray[np.floating], NDArray[np.unsignedinteger]]:
    """Remove the parametrization; return the representatives in use (K',) and the indices of the forward pass."""
    parametrization = parametrizations(model, name)
    layer: StraightThrough = parametrization[0]
    weight = parametrization.original.detach()
    levels = layer._levels_of[0].representatives().detach().to(weight)
    index = layer.index(weight, levels).cpu().numpy()
    take_off(model, name)
    used, renumbered = np.unique(index, return_inverse=True)
    dtype = np.uint8 if used.size <= 256 else np.uint16
    return levels.cpu().numpy()[used], renumbered.reshape(index.shape).astype(dtype)
