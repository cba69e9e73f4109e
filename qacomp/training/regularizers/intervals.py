"""Which interval between sorted boundaries a weight lies in: a binary search, or a table of half-precision cells.

Rounded to half precision, a float32 is one of 65,536 cells. A table says how many boundaries lie below a cell, and one
comparison settles the few cells that hold a boundary themselves. Rounding is monotone, so this is exact; in the
processor's cache it is several times faster than searching.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from qacomp.training.regularizers.blocks import BLOCK, first, suits

_CELLS = 65_536
_MAX_CORRECTIONS = 16


class CellTable:
    """`torch.bucketize(x, boundaries)` for blocks of float32 on the CPU. `boundaries` (M,) float32, ascending."""

    def __init__(self, boundaries: Tensor) -> None:
        self.boundaries = boundaries.detach() + 0.0  # −0.0 becomes 0.0
        code = self.boundaries.half().view(torch.int16).long()  # sign and magnitude
        cell = torch.where(code >= 0, code + 32_768, -1 - code)  # (M,) ascending with the value
        ends = torch.cat([cell.new_zeros(1), cell + 1, cell.new_full((1,), _CELLS)])
        below = torch.repeat_interleave(torch.arange(cell.numel() + 1, dtype=torch.int32), ends.diff())  # (cells,)
        # The first of several boundaries in a cell is its threshold; as many corrections follow as it holds.
        first = torch.searchsorted(cell, cell)  # (M,)
        below[cell] = first.int()
        self.corrections = int((torch.arange(cell.numel()) - first).max()) + 1 if cell.numel() else 0
        self.below = torch.cat([below[32_768:], below[:32_768].flip(0)])  # (65,536,) by the half's bits
        self.thresholds = torch.cat([self.boundaries, self.boundaries.new_full((1,), float("inf"))])  # (M + 1,)

    def worker(self) -> Callable[[Tensor, Tensor], None]:
        """Return a function with scratch space of its own, (x (b,), out (b,) int32) for b ≤ BLOCK."""
        half = torch.empty(BLOCK, dtype=torch.float16)
        scratch = (half, half.view(torch.uint16), *torch.empty((2, BLOCK), dtype=torch.int32), torch.empty(BLOCK))

        def find(x: Tensor, out: Tensor) -> None:
            if self.corrections > _MAX_CORRECTIONS:  # boundaries crowd together
                torch.bucketize(x, self.boundaries, out_int32=True, out=out)
                return
            rounded, bits, cells, step, threshold = first(scratch, x.numel())
            rounded.copy_(x)
            cells.copy_(bits)
            torch.index_select(self.below, 0, cells, out=out)
            for _ in range(self.corrections):
                torch.index_select(self.thresholds, 0, out, out=threshold)
                out.add_(torch.gt(x, threshold, out=step))

        return find


def interval(weight: Tensor, boundaries: Tensor) -> Tensor:
    """Return `torch.bucketize(weight, boundaries)`, faster for large float32 weights on the CPU: int64.

    The number of boundaries ((M,) ascending) below each weight; a weight at a boundary belongs to the lower interval.
    """
    if not suits(weight) or boundaries.dtype != torch.float32 or boundaries.numel() == 0:
        return torch.bucketize(weight, boundaries)
    flat = weight.detach().reshape(-1)
    index = torch.empty(flat.shape, dtype=torch.int64)
    find, block = CellTable(boundaries).worker(), torch.empty(BLOCK, dtype=torch.int32)
    for x, out in zip(torch.split(flat, BLOCK), torch.split(index, BLOCK), strict=True):
        found = block[: x.numel()]
        find(x, found)
        out.copy_(found)
    return index.view(weight.shape)
