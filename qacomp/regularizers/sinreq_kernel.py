"""SinReQ's squared sine, a block of weights at a time."""

import math

import torch
from torch import Tensor

from qacomp.regularizers.blocks import BLOCK, BlockFunction, Kernel


class SquaredSineKernel(Kernel):
    """φ(w) = sin²(π (a·t + c)), t = tanh(w)/scale (`tanh`), w/scale clamped to [−1, 1] (`clamp`), or w (`none`).

    Further sums: Σ ∂φ/∂a and Σ ∂φ/∂c, (2,).
    """

    def __init__(self, a: float, c: float, transform: str, scale: float) -> None:
        self.a, self.c, self.transform, self.scale = a, c, transform, scale

    def worker(self) -> BlockFunction:
        """∂φ/∂(a·t + c) = π sin(2π(a·t + c)) = 2π sin · cos; times a · dt/dw for the weight."""
        value, sine, inner = torch.empty((3, BLOCK))

        def block(x: Tensor, slopes: Tensor) -> tuple[float, Tensor]:
            b = x.numel()
            t, s, derivative = value[:b], sine[:b], inner[:b]
            if self.transform == "tanh":
                torch.tanh(x, out=t)
                torch.mul(t, t, out=derivative).neg_().add_(1.0).div_(self.scale)
                t.div_(self.scale)
            elif self.transform == "clamp":
                torch.div(x, self.scale, out=t)
                torch.le(torch.abs(t, out=s), 1.0, out=derivative).div_(self.scale)
                t.clamp_(-1.0, 1.0)
            else:
                t.copy_(x)
            torch.mul(t, math.pi * self.a, out=s).add_(math.pi * self.c)
            torch.cos(s, out=slopes)
            s.sin_()
            slopes.mul_(s).mul_(2 * math.pi)  # ∂φ/∂phase
            further = torch.stack([t.mul_(slopes).sum(), slopes.sum()])
            slopes.mul_(self.a)
            if self.transform != "none":
                slopes.mul_(derivative)
            return s.mul_(s).sum().item(), further

        return block
