"""Find the nearest representative of each weight by a search among the midpoints, without N × K distances."""

from typing import Any

import torch
from torch import Tensor

from qacomp.training.regularizers.blocks import BLOCK, BlockFunction, Kernel, first
from qacomp.training.regularizers.intervals import CellTable, interval

_SUM_CHUNK = 1 << 16  # values that are summed in float32, before float64 sums follow


def nearest_level(weight: Tensor, levels: Tensor) -> Tensor:
    """Return the index of the level nearest to each weight: int64, in the weight's shape.

    levels: (K,), ascending. A weight at a midpoint goes to the lower level.
    """
    return interval(weight, (levels[1:] + levels[:-1]) / 2)


def sum_by_level(values: Tensor, index: Tensor, k: int) -> Tensor:
    """Return the sum of `values` for each level: (k,), of the values' dtype. index: 0 .. k − 1, shaped like values."""
    flat, positions = values.reshape(-1), index.reshape(-1)
    if values.device.type != "cpu" or values.dtype != torch.float32 or k > BLOCK:
        return torch.bincount(positions, weights=flat, minlength=k).to(values.dtype)
    # In pieces: bincount sums in the values' precision, and reads the index twice, the second time from the cache.
    total = torch.zeros(k, dtype=torch.float64)
    for v, i in zip(torch.split(flat, _SUM_CHUNK), torch.split(positions, _SUM_CHUNK), strict=True):
        total += torch.bincount(i, weights=v, minlength=k)
    return total.to(values.dtype)


class NearestKernel(Kernel):
    """φ(w − nearest u) with φ(d) = 1 − exp(−|d|) (`exponential`) or d². Parameter slopes: Σ dφ/du, (K,).

    levels: the representatives u, (K,) float32, ascending.
    """

    def __init__(self, levels: Tensor, exponential: bool) -> None:
        self.levels, self.exponential = levels.detach(), exponential
        self.table = CellTable((self.levels[1:] + self.levels[:-1]) / 2)

    def worker(self) -> BlockFunction:
        """Return the function of one thread; it finds the exact nearest representative."""
        find = self.table.worker()
        scratch = torch.empty(BLOCK, dtype=torch.int32), torch.empty(BLOCK)
        k = self.levels.numel()

        def block(x: Tensor, slopes: Tensor) -> tuple[float, Tensor]:
            i, d = first(scratch, x.numel())
            find(x, i)
            torch.index_select(self.levels, 0, i, out=d)
            torch.sub(x, d, out=d)  # d = w − u
            if self.exponential:
                torch.abs(d, out=slopes).neg_().exp_()  # exp(−|d|)
                value = x.numel() - slopes.sum().item()
                slopes.mul_(d.sign_())  # dφ/dw = sign(d)·exp(−|d|)
            else:
                torch.add(d, d, out=slopes)  # dφ/dw = 2d
                value = d.mul_(d).sum().item()
            return value, -torch.bincount(i, weights=slopes, minlength=k)

        return block


class NearestPenalty(torch.autograd.Function):
    """The mean over the weights of φ(w − nearest u), by binary search, on any device and in any precision.

    The forward pass also computes the gradient, which backward only scales. φ is that of `NearestKernel`.
    """

    @staticmethod
    def forward(ctx: Any, weight: Tensor, levels: Tensor, exponential: bool) -> Tensor:
        """Return the mean as a scalar. weight: any shape; levels: (K,), ascending."""
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
        """Return the gradients of (weight, levels)."""
        grad_weight, grad_levels = ctx.saved_tensors
        return grad_weight * grad_outputs[0], grad_levels * grad_outputs[0], None
