"""The kernel of SinReQ's squared sine (see `blocks`)."""

import math

import torch
from torch import Tensor

from qacomp.training.regularizers.blocks import BLOCK, BlockFunction, Kernel, first


class SquaredSineKernel(Kernel):
    """φ(w) = g sin²(π (a·t + c)), t = tanh(w)/scale (`tanh`), w/scale clamped to [−1, 1] (`clamp`), or w (`none`).

    gain: g.
    """

    def __init__(self, a: float, c: float, transform: str, scale: float, gain: float) -> None:
        self.a, self.c, self.transform, self.scale, self.gain = a, c, transform, scale, gain

    def worker(self) -> BlockFunction:
        """Return the function of one thread; p = π(a·t + c), φ = g sin² p, dφ/dw = 2π a g · sin p · cos p · dt/dw."""
        scratch = tuple(torch.empty((3, BLOCK)))

        def block(x: Tensor, slopes: Tensor) -> tuple[float, Tensor | None]:
            t, s, derivative = first(scratch, x.numel())  # `derivative` is scale · dt/dw, `t` scale · t
            if self.transform == "tanh":
                torch.tanh(x, out=t)
                torch.mul(t, t, out=derivative).neg_().add_(1.0)
            elif self.transform == "clamp":
                torch.clamp(x, -self.scale, self.scale, out=t)
                torch.eq(x, t, out=derivative)
            else:
                t.copy_(x)
            torch.mul(t, math.pi * self.a / self.scale, out=s)
            if self.c:
                s.add_(math.pi * self.c)
            torch.cos(s, out=slopes)
            slopes.mul_(s.sin_())
            slopes.mul_(2 * math.pi * self.a * self.gain / self.scale)
            if self.transform != "none":
                slopes.mul_(derivative)
            return self.gain * s.mul_(s).sum().item(), None

        return block
