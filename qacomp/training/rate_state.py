"""The state of a training with a rate: sensitivity and code length of each tensor, and the search of λ.

All of it is in buffers, so that a training that is resumed has it.
"""

import torch
from torch import Tensor, nn

from qacomp.training.rate_model import code_length

_LOOKED = 0.0025  # fraction of the training between two settings of λ: 400 in all
_CODED = 0.02  # fraction of the training between two uses of the coder
_FALLING = 0.6  # fraction of the training after which the bytes have reached the goal
_KEPT = 0.98  # weight of the past in the running mean of squared gradients: about 50 steps
_RANGE = 1000.0  # largest ratio of a filter's or channel's sensitivity to the tensor's own


class TensorRate(nn.Module):
    """The sensitivity and the code length of one tensor, as buffers; a vector counts as one filter of one channel.

    filters (O,), channels (I,): running means of squared gradients, all zero before the first step. costs, tail,
    bits: the code length at the last setting of λ, see CodeLength.
    """

    filters: Tensor
    channels: Tensor
    costs: Tensor
    tail: Tensor
    bits: Tensor

    def __init__(self, dead: Tensor) -> None:
        """Start without knowledge. dead: the dead zone of the weight, whose shape the costs have."""
        super().__init__()
        filters, channels = dead.shape[:2] if dead.ndim > 1 else (1, 1)
        self.register_buffer("filters", torch.zeros(filters, dtype=torch.float64))
        self.register_buffer("channels", torch.zeros(channels, dtype=torch.float64))
        self.register_buffer("costs", torch.zeros_like(dead))
        self.register_buffer("tail", torch.tensor(0.0))
        self.register_buffer("bits", torch.tensor(0.0, dtype=torch.float64))

    def measure(self, integers: Tensor) -> None:
        """Take the code length of the present integers, in the weight's shape."""
        found = code_length(integers)
        self.costs.copy_(found.costs)
        self.tail.fill_(found.tail)
        self.bits.fill_(found.bits)

    def slope(self, multiples: Tensor) -> Tensor:
        """Return d bits / d multiple: the cost of a non-zero below 1, else the tail. multiples: weights in steps."""
        return torch.where(multiples.abs() < 1, self.costs, self.tail) * multiples.sign()

    def see(self, gradient: Tensor) -> None:
        """Take the gradient of one step, in the weight's shape, into the running means."""
        powers = gradient.detach().reshape(len(self.filters), len(self.channels), -1).square().mean(dim=2)
        first = not bool(self.filters.any())
        for mean, now in ((self.filters, powers.mean(dim=1)), (self.channels, powers.mean(dim=0))):
            mean.copy_(now if first else mean.lerp(now.to(mean.dtype), 1 - _KEPT))

    def sensitivity(self) -> Tensor | None:
        """Return the mean squared gradient of weights (filters, channels), modelled as a product; None if it is 0."""
        mean = float(self.filters.mean())
        if not mean > 0:
            return None
        relative = self.filters[:, None] * self.channels[None] / mean**2
        return mean * relative.clamp(1 / _RANGE, _RANGE)


class RateState(nn.Module):
    """The state of the search of λ.

    level: log λ / 2; start: bytes at the start; worth: bytes per estimated bit, when last coded; looked, coded:
    progress at the last setting of λ, and at the last use of the coder; settled: whether zeros stay zero now;
    pressed: whether plain rounding takes more bytes than wanted.
    """

    level: Tensor
    start: Tensor
    worth: Tensor
    looked: Tensor
    coded: Tensor
    settled: Tensor
    pressed: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name, value in (("level", 0.0), ("start", 0.0), ("worth", 0.125), ("looked", -1.0), ("coded", -1.0)):
            self.register_buffer(name, torch.tensor(value, dtype=torch.float64))
        self.register_buffer("settled", torch.tensor(False))
        self.register_buffer("pressed", torch.tensor(False))

    def due(self, progress: float, *, coder: bool = False) -> bool:
        """Return whether λ, or the use of the coder, is due; progress: fraction of the training done so far."""
        mark, apart = (self.coded, _CODED) if coder else (self.looked, _LOOKED)
        due = progress - float(mark) >= apart
        if due:
            mark.fill_(progress)
        return due

    def wanted(self, size: float, goal: float, progress: float) -> float:
        """Return the bytes that are wanted now: on a curve from the first `size` to the goal."""
        if float(self.start) == 0:
            self.start.fill_(size)
        start = float(self.start)
        return start * (goal / start) ** min(1.0, progress / _FALLING) if start > goal else goal
