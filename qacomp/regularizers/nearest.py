"""Nearest representative on a line: a binary search between sorted midpoints instead of an N × K table of distances."""

from typing import Any

import torch
from torch import Tensor


def nearest_level(weight: Tensor, levels: Tensor) -> Tensor:
    """Index of the level nearest to each weight: int64 of weight's shape.

    `levels` is (K,) ascending. A weight at a midpoint goes to the lower level.
    """
    return torch.bucketize(weight, (levels[1:] + levels[:-1]) / 2)


def sum_by_level(values: Tensor, index: Tensor, k: int) -> Tensor:
    """Sum of `values` per level: (K,), values' dtype. `index` (same shape as values) holds integers in 0 .. K − 1."""
    return torch.bincount(index.reshape(-1), weights=values.reshape(-1), minlength=k).to(values.dtype)


class NearestPenalty(torch.autograd.Function):
    """Mean over the weights of φ(w − nearest u), with its gradients to w and u computed in the forward pass.

    Both penalties that use it are cheap beside the memory they touch, so the one pass that finds the nearest level also
    leaves the gradient; backward only scales it. φ is |d| ↦ 1 − exp(−|d|) (`exponential=True`) or d².
    """

    @staticmethod
    def forward(ctx: Any, weight: Tensor, levels: Tensor, exponential: bool) -> Tensor:
        """`weight` any shape, `levels` (K,) ascending -> scalar."""
        n = weight.numel()
        flat, levels = weight.detach().reshape(-1), levels.detach()  # (n,), (K,)
        index = nearest_level(flat, levels)  # (n,)
        distance = flat - levels[index]  # d = w − u
        if exponential:
            magnitude = torch.exp(-distance.abs())  # exp(−|d|)
            value = 1.0 - magnitude.mean()
            slope = magnitude.mul_(distance.sign_()).div_(n)  # dR/dw = sign(d)·exp(−|d|)/n
        else:
            value = distance.square().mean()
            slope = distance.mul_(2.0 / n)  # dR/dw = 2d/n
        ctx.save_for_backward(slope.view(weight.shape), -sum_by_level(slope, index, levels.numel()))
        return value

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, Tensor, None]:
        """Gradients to (weight, levels)."""
        grad_weight, grad_levels = ctx.saved_tensors
        return grad_weight * grad_outputs[0], grad_levels * grad_outputs[0], None
