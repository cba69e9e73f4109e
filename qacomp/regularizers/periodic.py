"""What the two periodic penalties have in common: |sin| of a straight line, a block of weights at a time."""

import torch
from torch import Tensor

from qacomp.regularizers.blocks import BLOCK, BlockFunction, Kernel, first


class AbsoluteSineKernel(Kernel):
    """φ(x) = |sin(frequency · (x − zero))|; frequency in radians per unit of weight, `zero` one of its zeros."""

    def __init__(self, frequency: float, zero: float) -> None:
        self.frequency, self.zero = frequency, zero

    def worker(self) -> BlockFunction:
        """dφ/dx = frequency · sign(sin) · cos."""
        scratch = tuple(torch.empty((2, BLOCK)))

        def block(x: Tensor, slopes: Tensor) -> tuple[float, None]:
            a, s = first(scratch, x.numel())
            torch.sub(x, self.zero, out=a).mul_(self.frequency)
            torch.sin(a, out=s)
            torch.cos(a, out=slopes).mul_(torch.sign(s, out=a)).mul_(self.frequency)
            return s.abs_().sum().item(), None

        return block
