"""A training objective with a rate: task loss + λ · bits; the bits estimate the entropy-coded size of the weights.

The integers q of each tensor have their own distribution: a share of zeros, and a geometric tail. Above |q| = 1 the
code length is linear in |q|, so the gradient is constant: λ · (bits from one multiple to the next) / step, towards
zero. A controller changes λ so that the bytes fall to the goal in the first part of the training, and stay there.
Entropies are computed often; from time to time the container's coder measures how many bytes a bit of entropy takes.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from qacomp.training.objective import Objective
from qacomp.training.parametrizations.rounding import shadow_weight

_LOOKED = 0.0025  # fraction of the training between two computations of the bits: 400 in all
_CODED = 0.02  # fraction of the training between two uses of the coder
Coder = Callable[[Mapping[str, NDArray[np.int64]]], int]
"""Returns the bytes that integers take in a container, with their codebooks."""
_FALLING = 0.6  # fraction of the training after which the bytes should have reached the goal
_LEAST_SLOPE, _MOST_SLOPE = 0.3, 8.0  # limits on the bits between multiples, which few weights estimate badly
_FIRST_PRICE = 0.1  # λ · all bits at the start: about a tenth of a usual task loss
_MOST_PRICE = 10.0  # λ · all bits at the most: beyond it weights are thrown about, and the loss becomes NaN
_QUICK, _SLOW, _LARGEST = 8.0, 0.3, 0.3  # gains of the controller: proportional, integral; limit of the relative excess


class CodeLength(nn.Module):
    """The code length of one tensor's integers. first: bits from 0 to ±1; tail: bits from each |q| ≥ 1 to the next.

    bits: of the whole tensor, at the last update.
    """

    first: Tensor
    tail: Tensor

    def __init__(self, step: float) -> None:
        super().__init__()
        self.step = step
        self.register_buffer("first", torch.tensor(1.0))
        self.register_buffer("tail", torch.tensor(1.0))
        self.bits = 0.0

    def update(self, weight: Tensor) -> None:
        """Update the distribution to the present values of a shadow weight."""
        magnitude = torch.round(weight.detach() / self.step).abs()
        count = magnitude.numel()
        nonzero = int((magnitude > 0).sum())
        share = min(max(nonzero / count, 1 / count), 1 - 1 / count) if count > 1 else 0.5
        mean = max(float(magnitude.sum()) / max(nonzero, 1), 1.0 + 1.0 / count)
        ratio = 1 - 1 / mean  # between neighbours in the geometric tail
        self.first.fill_(_bounded(-math.log2(share * (1 - ratio) / 2 / (1 - share))))
        self.tail.fill_(_bounded(-math.log2(ratio)))
        found = torch.bincount(magnitude.reshape(-1).long()).double()
        found = found[found > 0] / count
        self.bits = count * float(-(found * found.log2()).sum()) + nonzero  # plus a sign bit for each non-zero

    def gradient(self, weight: Tensor) -> Tensor:
        """Return d bits / d weight, in the weight's shape."""
        x = weight.detach() / self.step
        return torch.where(x.abs() < 1, self.first, self.tail) * x.sign() / self.step


def _bounded(slope: float) -> float:
    return min(max(slope, _LEAST_SLOPE), _MOST_SLOPE)


@dataclass(frozen=True)
class RateObjective(Objective):
    """An objective whose penalty is the rate. lengths: weight name -> its code length; goal: bytes at the end.

    coder: counts the bytes of integers in a container; state: of the controller, saved for resuming.
    """

    lengths: Mapping[str, CodeLength] = field(default_factory=dict)
    goal: float = 0.0
    coder: Coder = field(default=lambda integers: 0)
    state: "RateState" = field(default_factory=lambda: RateState())

    @classmethod
    def of(cls, plain: Objective, lengths: Mapping[str, CodeLength], goal: float, coder: Coder) -> "RateObjective":
        """Return the objective `plain` with a rate added."""
        own = {f.name: getattr(plain, f.name) for f in fields(plain)}
        return cls(**own, lengths=lengths, goal=goal, coder=coder)

    def modules(self) -> nn.ModuleDict:
        """Return the code lengths and the controller, whose state is saved for resuming."""
        lengths = {name.replace(".", "/"): length for name, length in self.lengths.items()}
        return nn.ModuleDict({"lengths": nn.ModuleDict(lengths), "state": self.state})

    def add_penalty_gradients(self, model: nn.Module, progress: float) -> Tensor:
        """Add λ · d bits / d weight to the weights' gradients; return λ · bits, a detached scalar.

        progress: fraction of the training's steps done so far.
        """
        weights = {name: shadow_weight(model, name) for name in self.lengths}
        if self.state.due(progress):
            for name, length in self.lengths.items():
                length.update(weights[name])
            bits = sum(length.bits for length in self.lengths.values())
            if self.state.wants_coder(progress):
                self.state.worth.fill_(self.coder(self._integers(weights)) / max(bits, 1.0))
            self.state.steer(bits * float(self.state.worth), self.goal, progress)
        price = float(self.state.price)
        for name, weight in weights.items():
            if weight.grad is not None:
                weight.grad.add_(self.lengths[name].gradient(weight), alpha=price)
        return torch.tensor(price * sum(length.bits for length in self.lengths.values()))

    def _integers(self, weights: Mapping[str, Tensor]) -> dict[str, NDArray[np.int64]]:
        steps = {name: length.step for name, length in self.lengths.items()}
        return {n: torch.round(w.detach() / steps[n]).cpu().numpy().astype(np.int64) for n, w in weights.items()}


class RateState(nn.Module):
    """The state of the controller of λ, as buffers, so that a resumed training has it.

    price: λ in loss per bit; base: its slow part; start: bytes at the start; worth: bytes per bit of entropy, when last
    coded; looked, coded: progress at the last computation of the bits, and at the last use of the coder.
    """

    price: Tensor
    base: Tensor
    looked: Tensor
    start: Tensor
    worth: Tensor
    coded: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("price", torch.tensor(0.0, dtype=torch.float64))
        self.register_buffer("base", torch.tensor(0.0, dtype=torch.float64))
        self.register_buffer("looked", torch.tensor(-1.0, dtype=torch.float64))
        self.register_buffer("start", torch.tensor(0.0, dtype=torch.float64))
        self.register_buffer("worth", torch.tensor(0.125, dtype=torch.float64))
        self.register_buffer("coded", torch.tensor(-1.0, dtype=torch.float64))

    def due(self, progress: float) -> bool:
        """Return whether the bits are due to be computed; progress: fraction of the training done so far."""
        due = progress - float(self.looked) >= _LOOKED
        if due:
            self.looked.fill_(progress)
        return due

    def wants_coder(self, progress: float) -> bool:
        """Return whether the coder is due to be used; progress: fraction of the training done so far."""
        due = progress - float(self.coded) >= _CODED
        if due:
            self.coded.fill_(progress)
        return due

    def steer(self, size: float, goal: float, progress: float) -> None:
        """Change λ so that `size` (bytes) follows the curve from the start to the goal.

        progress: fraction of the training done so far.
        """
        if float(self.start) == 0:
            self.start.fill_(size)
            self.base.fill_(_FIRST_PRICE / max(8 * size, 1.0))
        fallen = min(1.0, progress / _FALLING)
        start = float(self.start)
        wanted = start * (goal / start) ** fallen if start > goal else goal
        excess = min(max(math.log(max(size, 1.0) / max(wanted, 1.0)), -_LARGEST), _LARGEST)
        most = _MOST_PRICE / max(8 * size, 1.0)
        self.base.copy_((self.base * math.exp(_SLOW * excess)).clamp(max=most))
        self.price.copy_((self.base * math.exp(_QUICK * excess)).clamp(max=most))  # damps: sizes react late to λ
