"""Set the dead zones of rounded weights so that the weights take the bytes that are wanted.

A weight is rounded to zero where that costs the loss less than it saves bits: where sensitivity · weight² < λ · bits.
So the dead zone of a weight is in proportion to √(bits ÷ sensitivity). The sensitivity is the mean squared gradient in
the weight's filter and channel; the bits follow from the shares of non-zeros there.
"""

import math
from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from qacomp.training.parametrizations.rounding import PLAIN, on_grid, rounding_of, shadow_weight
from qacomp.training.rate_model import code_length
from qacomp.training.rate_state import RateState, TensorRate

Coder = Callable[[Mapping[str, NDArray[np.int64]]], int]
"""Returns the bytes that integers take in a container, with their codebooks."""
_WIDEST = 1000.0  # dead zone, in steps
_TRIALS, _NEAR = 8, 0.003  # trials of λ each time, and the relative difference of bytes that ends them
_FIRST_MOVE, _STEEPEST = 0.3, 3.0  # in units of log λ; limit on its moves for a relative difference of one


class DeadZones:
    """The dead zones of all tensors as a function of log λ, for the present weights."""

    def __init__(self, model: nn.Module, tensors: Mapping[str, TensorRate]) -> None:
        self._tensors = tensors
        self._rounding = {name: rounding_of(model, name) for name in tensors}
        self._multiples = {n: shadow_weight(model, n).detach() * r.kept / r.step for n, r in self._rounding.items()}
        self._measure()
        self._relative = {name: self._zone(name) for name in tensors}

    def set(self, state: RateState, goal: float, coder: Coder, progress: float) -> None:
        """Search the λ at which the weights take the bytes that are wanted now, and set the dead zones.

        goal: bytes at the end; progress: fraction of the training done so far.
        """
        if state.due(progress, coder=True):
            integers = {n: on_grid(m, self._rounding[n].dead) for n, m in self._multiples.items()}
            coded = coder({n: q.cpu().numpy().astype(np.int64) for n, q in integers.items()})
            state.worth.fill_(coded / max(sum(float(tensor.bits) for tensor in self._tensors.values()), 1.0))
        if float(state.start) == 0:
            state.level.fill_(self._narrowest())
        worth = float(state.worth)
        plain = worth * self._bits(-math.inf)
        wanted = state.wanted(plain, goal, progress)
        state.pressed.fill_(plain > wanted)

        def excess(level: float) -> float:
            return math.log(max(worth * self._bits(level), 1.0) / max(wanted, 1.0))

        state.level.fill_(_level_for(excess, float(state.level)))
        for name, rounding in self._rounding.items():
            rounding.dead.copy_(self._dead(name, float(state.level)))
        self._measure()

    def _measure(self) -> None:
        for name, tensor in self._tensors.items():
            tensor.measure(on_grid(self._multiples[name], self._rounding[name].dead))

    def _zone(self, name: str) -> Tensor:
        """Return √(bits ÷ sensitivity) in steps, the dead zone at level 0.

        It is 0 for a tensor without gradients, which is rounded plainly: the loss says nothing about it.
        """
        costs, sensitivity = self._tensors[name].costs, self._tensors[name].sensitivity()
        if sensitivity is None:
            return torch.zeros_like(costs)
        zone = (costs.double() / sensitivity.reshape(costs.shape)).sqrt() / self._rounding[name].step
        return zone.to(costs.dtype)

    def _dead(self, name: str, level: float) -> Tensor:
        """Return the dead zone of a tensor in steps, at a level: log λ / 2."""
        relative = self._relative[name]
        if level == -math.inf:
            return torch.full_like(relative, PLAIN)
        return (relative * math.exp(min(level, 80.0))).clamp(PLAIN, _WIDEST)

    def _bits(self, level: float) -> float:
        return sum(code_length(on_grid(m, self._dead(n, level))).bits for n, m in self._multiples.items())

    def _narrowest(self) -> float:
        """Return the highest level at which all weights are rounded plainly."""
        widest = max((float(r.max()) for r in self._relative.values()), default=0.0)
        return math.log(PLAIN / widest) if widest > 0 else 0.0


def _level_for(excess: Callable[[float], float], start: float) -> float:
    """Return a level at which `excess`, which falls with the level, is nearly 0, by a few secant steps from `start`."""
    level, found = start, excess(start)
    slope = -1.0  # of the excess, until two points are known
    for _ in range(_TRIALS):
        if abs(found) < _NEAR:
            break
        move = min(max(-found / slope, -_STEEPEST * abs(found)), _STEEPEST * abs(found))
        after = level + min(max(move, -_FIRST_MOVE), _FIRST_MOVE)
        then = excess(after)
        if then != found:
            slope = min((then - found) / (after - level), -1 / _STEEPEST)
        level, found = after, then
    return level
