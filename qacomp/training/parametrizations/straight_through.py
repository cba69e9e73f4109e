"""Straight-through weight sharing: the forward pass uses the nearest representative, the gradient passes to the weight.

Every layer keeps full-precision shadow weights; its representatives u learn beside them. A weight that is pushed across
a boundary changes its cluster, so the assignment is learned together with the values (Bengio et al., 2013). A level's
gradient is the MEAN over its weights, not their sum: then it moves as its average member does, at any size of layer.

With an entropy weight η a weight goes to the level that minimises (w − u)² + η·s²·bits(level), s the mean distance
between neighbouring levels and bits = −log2 of the level's share (entropy-constrained quantization, Chou et al., 1989).
On a line this only moves the boundaries: towards the rarer level of each pair.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from qacomp.models.weight_places import is_parametrized_by, parametrizations, put_on, take_off
from qacomp.training.regularizers import Regularizer
from qacomp.training.regularizers.nearest import sum_by_level

_MEMORY = 0.99


class Assign(torch.autograd.Function):
    """(weight, levels, index) -> levels[index]; d/d weight is the identity, d/d level the mean over the mask."""

    @staticmethod
    def forward(
        ctx: Any, weight: Tensor, levels: Tensor, index: Tensor, gain: float, mask: Tensor | None = None
    ) -> Tensor:
        """Return levels[index], in weight's shape, from levels (K,) and an int64 index of weight's shape.

        mask: of the weight; where it is False the value means nothing, and no gradient may come back.
        """
        ctx.save_for_backward(index, mask)
        ctx.k, ctx.gain = levels.numel(), gain
        return levels[index]

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        """Return the gradients to (weight, levels)."""
        index, mask = ctx.saved_tensors
        gradient = grad_outputs[0]
        counted = index.reshape(-1) if mask is None else index[mask]
        counts = torch.bincount(counted, minlength=ctx.k).clamp(min=1)  # (K,)
        summed = sum_by_level(gradient, index, ctx.k)  # (K,)
        return gradient, summed * (ctx.gain / counts.to(summed.dtype)), None, None, None


class StraightThrough(nn.Module):
    """Parametrization of one weight by its shadow; `levels_of` is the regularizer that owns the levels (not its child).

    `gain` multiplies the levels' gradient, where their learning rate was chosen for the regularizer's. `shares` (K,) is
    a running mean of how much of the layer each level holds; it is updated in training mode only. `mask`: of
    the weight, False where it is pruned: zero, whatever this makes of it, and part of no level.
    """

    shares: Tensor
    mask: Tensor | None

    def __init__(self, levels_of: Regularizer, entropy: float, gain: float = 1.0, mask: Tensor | None = None) -> None:
        super().__init__()
        self._levels_of = (levels_of,)  # a tuple, so that the parameters stay the regularizer's alone
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
        """Return the weight: it is its own shadow."""
        return weight

    def index(self, weight: Tensor, levels: Tensor) -> Tensor:
        """Return the index of each weight's shared value: int64 of weight's shape. `levels` (K,) ascending."""
        boundaries = (levels[1:] + levels[:-1]) / 2  # (K − 1,)
        if self.entropy > 0 and levels.numel() > 1:
            gaps = (levels[1:] - levels[:-1]).clamp(min=1e-12)  # (K − 1,)
            bits = -torch.log2(self.shares.clamp(min=1e-4)).to(levels)  # (K,)
            shift = self.entropy * gaps.mean() ** 2 * (bits[1:] - bits[:-1]) / (2 * gaps)
            boundaries = torch.cummax(boundaries + shift, 0).values  # ascending, where a shift is larger than a gap
        return torch.bucketize(weight, boundaries)


def install(
    model: nn.Module,
    name: str,
    levels_of: Regularizer,
    entropy: float,
    gain: float = 1.0,
    mask: Tensor | None = None,
) -> None:
    """Put the weight `name` of `model` behind straight-through sharing; its shadow becomes the trained parameter.

    Who prunes the weights outside the mask puts a ZeroMask behind it (see qacomp.training.parametrizations.zeros).
    """
    put_on(model, name, StraightThrough(levels_of, entropy, gain, mask))


def is_straight_through(model: nn.Module, name: str) -> bool:
    """Return whether `install` put the weight `name` of `model` behind straight-through sharing."""
    return is_parametrized_by(model, name, StraightThrough)


def harvest(model: nn.Module, name: str) -> tuple[NDArray[np.floating], NDArray[np.unsignedinteger]]:
    """Take the sharing off again: the levels in use (K',) and the indices, exactly as the forward pass had them."""
    parametrization = parametrizations(model, name)
    layer: StraightThrough = parametrization[0]
    weight = parametrization.original.detach()
    levels = layer._levels_of[0].representatives().detach().to(weight)
    index = layer.index(weight, levels).cpu().numpy()
    take_off(model, name)
    used, renumbered = np.unique(index, return_inverse=True)
    dtype = np.uint8 if used.size <= 256 else np.uint16
    return levels.cpu().numpy()[used], renumbered.reshape(index.shape).astype(dtype)
