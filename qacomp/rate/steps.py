"""One step for each tensor: the same trade of output error for bytes everywhere.

A tensor's output error grows with its step squared, and doubling the step saves one bit a weight while the grid is
fine, less where most weights are zero. Steps are right where error ÷ bits saved is the same for all tensors.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qacomp.rate.compensation import Factor, compensated, rounded
from qacomp.rate.grid_form import entropy_bits
from qacomp.rate.matrices import MatrixView

_WIDER = 1.1  # of a step: how the bits that a wider step saves are measured
_LEAST_SAVED = 0.02  # bits a weight for a doubled step: a tensor that is nearly all zero saves no less
_MOST = 4.0  # how far one round may move a step: one trial of a few inputs isn't to be trusted further
ROUNDS = 2
"""Of trials: a third moved no step by more than 10 % on ResNet-20."""


@dataclass(frozen=True)
class WeightOnGrid:
    """A weight that is put on a grid. values: its own, float; view, factor: None where its operator isn't known."""

    values: NDArray[Any]
    view: MatrixView | None = None
    factor: Factor | None = None

    def integers(self, step: float) -> NDArray[np.int64]:
        """Return the weight as multiples of a step, in its own shape; compensated where there is a factor."""
        if self.view is None or self.factor is None:
            return rounded(self.values, step)
        found = compensated(self.view.matrices(self.values), self.factor, step)
        return self.view.tensor(found, self.values.shape)

    def first_step(self) -> float:
        """Return a step to begin with: one at which the operator's results are off by about a tenth."""
        wide = self.values.astype(np.float64)
        deviation = float(np.sqrt((wide**2).mean())) or 1.0
        if self.view is None or self.factor is None:
            return deviation / 2
        power = self.factor.conditional_power  # (groups, n)
        own = self.view.matrices(wide**2).mean(axis=1)  # (groups, n): mean square of the weights that an input meets
        mean = float((own * power).sum() / power.sum()) if power.sum() > 0 else 0.0
        return float(np.sqrt(mean)) / 2 if mean > 0 else deviation / 2

    def bits_saved(self, step: float) -> float:
        """Return the bits that all its weights together save by a doubled step, from what a little wider one saves."""
        fine, wide = (entropy_bits(rounded(self.values, s)) for s in (step, step * _WIDER))
        saved: float = (fine - wide) / np.log2(_WIDER)
        return max(saved, _LEAST_SAVED * self.values.size)


Distance = Callable[[Mapping[str, NDArray[Any]]], float]
"""How far the outputs move when the weights named have other values."""


def balanced_steps(
    weights: Mapping[str, WeightOnGrid], distance: Distance, advance: Callable[[], None]
) -> dict[str, float]:
    """Return each weight's step, so that all trade output error for bits alike; their common scale is still free.

    Each weight is tried alone, a few times. advance: called after each trial.
    """
    steps = {name: weight.first_step() for name, weight in weights.items()}
    for _ in range(ROUNDS):
        price = {}
        for name, weight in weights.items():
            step = steps[name]
            moved = distance({name: (weight.integers(step) * step).astype(weight.values.dtype)})
            price[name] = moved / weight.bits_saved(step)
            advance()
        steps = _moved(steps, price, weights)
    return steps


def _moved(
    steps: Mapping[str, float], price: Mapping[str, float], weights: Mapping[str, WeightOnGrid]
) -> dict[str, float]:
    """Return steps that bring all prices to their mean, weighted by the tensors' sizes, in logarithms."""
    told = {name: p for name, p in price.items() if p > 0 and np.isfinite(p)}
    if not told:
        return dict(steps)
    sizes = np.array([weights[name].values.size for name in told], np.float64)
    middle = float(np.exp((sizes * np.log(list(told.values()))).sum() / sizes.sum()))
    factors = {name: float(np.clip((middle / p) ** 0.5, 1 / _MOST, _MOST)) for name, p in told.items()}
    largest = max(factors.values())
    return {name: step * factors.get(name, largest) for name, step in steps.items()}
