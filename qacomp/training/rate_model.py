"""Estimate the coded size of a tensor's integers, as an adaptive coder with contexts of filters and channels sees it.

The chance that a weight isn't zero is modelled as (share of its filter) · (share of its channel) / (share of the
tensor). So a weight in a filter or channel that is nearly empty costs many bits, and one among others costs few.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

_LEAST, _MOST = 1e-5, 0.9  # limits on the chance of a non-zero, which short rows estimate badly
_PRIOR = 8.0  # weights that the tensor's own share counts as in each filter and channel
_MOST_TAIL = 8.0  # bits
_LEAST_COST = 0.5  # bits: in a dense tensor a non-zero may be as likely as a zero


@dataclass(frozen=True)
class CodeLength:
    """The estimated code length of a tensor's integers.

    bits: of all of them; costs: bits that a non-zero takes more than a zero, (filters, channels, 1, ...), or (1,) for a
    vector; tail: bits from each |q| above 0 to the next, in a geometric distribution.
    """

    bits: float
    costs: Tensor
    tail: float


def code_length(integers: Tensor) -> CodeLength:
    """Estimate the code length of integers (filters, channels, ...) or of a vector, given as floats."""
    table = integers.reshape(*integers.shape[:2], -1) if integers.ndim > 1 else integers.reshape(1, 1, -1)
    nonzero = table != 0
    counts = nonzero.sum(dim=2).double()  # (filters, channels)
    places = float(table.shape[2])
    total = float(counts.sum())
    share = min(max(total / integers.numel(), 1 / integers.numel()), 1.0)
    chance = _chances(counts, places, share).clamp(_LEAST, _MOST)
    magnitudes = torch.bincount(table.abs().reshape(-1).long())[1:].double()
    parts = magnitudes[magnitudes > 0] / max(total, 1.0)
    magnitude = 1.0 - float((parts * parts.log2()).sum())  # bits of the sign and of |q|, for each non-zero
    zeros = places - counts
    bits = -float((counts * chance.log2() + zeros * (1 - chance).log2()).sum()) + total * magnitude
    costs = (((1 - chance) / chance).log2() + magnitude).clamp(min=_LEAST_COST)
    shape = (1,) if integers.ndim == 1 else (*integers.shape[:2], *(1,) * (integers.ndim - 2))
    mean = float(table.abs().sum()) / max(total, 1.0)
    tail = -math.log2(1 - 1 / max(mean, 1 + _LEAST))
    return CodeLength(bits, costs.reshape(shape).to(integers.dtype), min(tail, _MOST_TAIL))


def _chances(counts: Tensor, places: float, share: float) -> Tensor:
    """Return the chance of a non-zero in each filter and channel (filters, channels), from their counts."""
    filters, channels = counts.shape
    if filters == channels == 1:
        return torch.full_like(counts, share)
    row = (counts.sum(dim=1) + _PRIOR * share) / (channels * places + _PRIOR)
    column = (counts.sum(dim=0) + _PRIOR * share) / (filters * places + _PRIOR)
    return row[:, None] * column[None] / share
