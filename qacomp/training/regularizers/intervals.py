"""Find the interval between sorted boundaries that a weight lies in, by binary search or by a table of half floats.

Rounded to half precision, a float32 falls into one of 65,536 cells. A table gives the number of boundaries below a
cell. Only for the few cells with a boundary inside, the weight is compared with that boundary. Rounding is monotone, so
the result is exact. The table fits the processor's cache, and the look-up is several times faster than a search.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from qacomp.training.regularizers.blocks import BLOCK, first, suits

_CELLS = 65_536
_MAX_CORRECTIONS = 16  # comparisons per weight; with more boundaries in one cell a binary search is used


class CellTable:
    """Computes `torch.bucketize(x, boundaries)` for float32 blocks on the CPU; boundaries: (M,) float32, ascending."""

    def __init__(self, boundaries: Tensor) -> None:
        self.boundaries = boundaries.detach() + 0.0  # −0.0 becomes 0.0
        code = self.boundaries.half().view(torch.int16).long()  # sign and magnitude
        cell = torch.where(code >= 0, code + 32_768, -1 - code)  # (M,) ascending with the value
        ends = torch.cat([cell.new_zeros(1), cell + 1, cell.new_full((1,), _CELLS)])
        below = torch.repeat_interleave(torch.arange(cell.numel() + 1, dtype=torch.int32), ends.diff())  # (cells,)
        # A cell with several boundaries starts at the first one; each correction moves one boundary on.
        first = torch.searchsorted(cell, cell)  # (M,)
        below[cell] = first.int()
        self.corrections = int((torch.arange(cell.numel()) - first).max()) + 1 if cell.numel() else 0
        self.below = torch.cat([below[32_768:], below[:32_768].flip(0)])  # (65,536,) by the half's bits
        self.thresholds = torch.cat([self.boundaries, self.boundaries.new_full((1,), float("inf"))])  # (M + 1,)

    def worker(self) -> Callable[[Tensor, Tensor], None]:
        """Return a function (x (b,), out (b,) int32), b ≤ BLOCK, with its own scratch memory; it fills `out`."""
        half = torch.empty(BLOCK, dtype=torch.float16)
        scratch = (half, half.view(torch.uint16), *torch.empty((2, BLOCK), dtype=torch.int32), torch.empty(BLOCK))

        def find(x: Tensor, out: Tensor) -> None:
            if self.corrections > _MAX_CORRECTIONS:  # too many boundaries in one cell
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
    """Return `torch.bucketize(weight, boundaries)`, faster for large float32 weights on the CPU.

    The result is the number of boundaries ((M,), ascending) below each weight: int64, in the weight's shape. A weight
    equal to a boundary belongs to the lower interval.
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
