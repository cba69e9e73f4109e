"""What the two periodic penalties have in common: |sin| of a straight line over a range [w, W], K basins in it."""

import math
from abc import abstractmethod
from typing import Self

import torch
from torch import Tensor, nn

from qacomp.training.regularizers.base import DEFAULT_OPTIONS, Regularizer
from qacomp.training.regularizers.blocks import BLOCK, BlockFunction, Kernel, first
from qacomp.training.regularizers.options import RegularizerOptions
from qacomp.training.regularizers.uniform_range import static_range

_NARROWEST = 1e-6


class AbsoluteSineKernel(Kernel):
    """φ(x) = |sin(frequency · (x − zero))|; frequency in radians per unit of weight, `zero` one of its zeros.

    Further sums, where they are `wanted`: Σ ∂φ/∂frequency and Σ ∂φ/∂zero, (2,).
    """

    def __init__(self, frequency: float, zero: float, wanted: bool) -> None:
        self.frequency, self.zero, self.wanted = frequency, zero, wanted

    def worker(self) -> BlockFunction:
        """dφ/dx = frequency · sign(sin) · cos."""
        scratch = tuple(torch.empty((2, BLOCK)))

        def block(x: Tensor, slopes: Tensor) -> tuple[float, Tensor | None]:
            a, s = first(scratch, x.numel())
            torch.sub(x, self.zero, out=a).mul_(self.frequency)
            torch.sin(a, out=s)
            torch.cos(a, out=slopes).mul_(torch.sign(s, out=a)).mul_(self.frequency)
            further = None
            if self.wanted:
                offsets = torch.sub(x, self.zero, out=a).mul_(slopes)
                further = torch.stack([offsets.sum() / self.frequency, -slopes.sum()])
            return s.abs_().sum().item(), further

        return block


class PeriodicPenalty(Regularizer):
    """|sin(f·(x − z))| with K zeros in the range `bounds` (2,) = (w, W): a buffer, or a parameter where it is learned.

    A learned range follows the weights by back-propagation, as the learnable regularizers' representatives do; the
    paper leaves w and W to the user.
    """

    bounds: Tensor

    def __init__(self, k: int, low: float, high: float, *, learned: bool = False) -> None:
        super().__init__()
        self.k = k
        if learned:
            self.bounds = nn.Parameter(torch.tensor([low, high]))
        else:
            self.register_buffer("bounds", torch.tensor([low, high], dtype=torch.float64))

    @classmethod
    def for_weights(cls, weight: Tensor, k: int, options: RegularizerOptions = DEFAULT_OPTIONS) -> Self:
        """Range per layer: the uniform grid nearest to the weights, where a learned one starts; or as given."""
        assert cls.inset is not None
        learned = options.range == "learned"
        return cls(k, *static_range(weight, k, options.range, inset=cls.inset), learned=learned)

    @abstractmethod
    def line(self) -> Tensor:
        """f and z, differentiable in the bounds: (2,)."""

    def width(self) -> Tensor:
        """W − w, never below a sliver, so that a range that learns can't turn inside out: scalar."""
        return (self.bounds[1] - self.bounds[0]).clamp_min(_NARROWEST)

    def textbook(self, weight: Tensor) -> Tensor:
        """Mean of ρ over `weight` (any shape): scalar."""
        frequency, zero = self.line().to(weight.dtype)
        value: Tensor = torch.sin((weight - zero) * frequency).abs().mean()
        return value

    def kernel(self) -> AbsoluteSineKernel:
        """ρ by blocks."""
        frequency, zero = self.line().tolist()
        return AbsoluteSineKernel(frequency, zero, self.bounds.requires_grad)

    def kernel_parameters(self) -> Tensor | None:
        """f and z, where the range is learned: (2,)."""
        return self.line() if self.bounds.requires_grad else None

    def levels(self) -> Tensor:
        """The K zeros inside the range, ascending: (K,) float32, differentiable in a learned range."""
        frequency, zero = self.line()
        steps = torch.arange(self.k, dtype=self.bounds.dtype, device=self.bounds.device)
        levels: Tensor = (zero + steps * (math.pi / frequency)).float()
        return levels
