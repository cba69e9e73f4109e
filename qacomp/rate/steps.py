"""Choose one step for each tensor, so that all tensors trade output error for bytes at the same rate.

The output error of a tensor grows with the square of its step. Doubling the step saves one bit per weight on a fine
grid, and less if most weights are zero. The steps are optimal if error ÷ bits saved is the same for all tensors.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qacomp.rate.columns import FARTHEST, Columns
from qacomp.rate.compensation import Factor, compensated, rounded
from qacomp.rate.grid_form import entropy_bits
from qacomp.rate.kept import Kept, not_kept
from qacomp.rate.matrices import View
from qacomp.rate.record import Sensitivity
from qacomp.rate.rows import PARTS, RowSteps
from qacomp.rate.weight_error import relative_error

_WIDER = 1.1  # factor on a step for measuring the bits that a wider step saves
_SAMPLE = 1 << 16  # values from which entropies are estimated: they are off by less than files differ from entropies
_LEAST_SAVED = 0.02  # least bits per weight that a doubled step counts as saving, also if nearly all weights are zero
_MOST = 4.0  # largest factor on a step in one round, since one trial on a few inputs is inexact
ROUNDS = 2
"""Rounds of trials: the second one corrects what the first steps, which come from the weights alone, were off by."""


@dataclass(frozen=True)
class WeightOnGrid:
    """A weight to put on a grid. values: the original ones, float; view, factor: None if its operator isn't known.

    columns: the inputs' own steps, relative to the weight's; rows: those of a vocabulary, without columns; None for
    one step. near: the base's values, in its shape, whose integers it rather keeps, or None; fine: the step of the
    base's trellis, which these values are on, or None.
    """

    values: NDArray[Any]
    view: View | None = None
    factor: Factor | None = None
    columns: Columns | None = None
    near: NDArray[np.float64] | None = None
    fine: float | None = None
    rows: RowSteps | None = None

    @property
    def plain(self) -> "WeightOnGrid":
        """Return the weight without what is known of its operator's inputs."""
        return replace(self, factor=None, columns=None)

    def columns_at(self, step: float) -> Columns | None:
        """Return the inputs' own steps, None where they have none, or would need too many levels at this step."""
        return self.columns if self.columns is not None and self.columns.fit(step) else None

    def rows_at(self, step: float) -> RowSteps | None:
        """Return the words' own steps, None where they have none, or would need too many levels at this step."""
        return self.rows if self.rows is not None and self.rows.fit(step) else None

    def integers(self, step: float) -> NDArray[np.int64]:
        """Return the weight as integer multiples of its steps, in its own shape, compensated if there is a factor."""
        before = None if self.near is None else np.rint(self.near / step)
        if (rows := self.rows_at(step)) is not None:
            own = rows.spread(step)
            before = None if self.near is None else np.rint(self.near / own)
            if self.view is None or self.factor is None:
                return rounded(self.values / own, 1.0, before)
            scaled = self.view.matrices(self.values / own)
            before = None if before is None else self.view.matrices(before)
            return self.view.tensor(compensated(scaled, self.factor, 1.0, FARTHEST, before), self.values.shape)
        if self.view is None or self.factor is None:
            return rounded(self.values, step, before)
        columns = self.columns_at(step)
        before = None if before is None or columns is not None else self.view.matrices(before)
        steps, farthest = (step, None) if columns is None else (columns.steps(step), FARTHEST)
        found = compensated(self.view.matrices(self.values), self.factor, steps, farthest, before)
        return self.view.tensor(found, self.values.shape)

    def values_of(self, integers: NDArray[np.integer], step: float) -> NDArray[np.float64]:
        """Return the values of integers in the weight's shape: their multiples of its steps."""
        if (rows := self.rows_at(step)) is not None:
            return integers * rows.spread(step)
        columns = self.columns_at(step)
        if columns is None or self.view is None:
            return integers.astype(np.float64) * step
        each = self.view.matrices(integers) * columns.steps(step)[:, None]
        return self.view.tensor(each, self.values.shape)

    def changed(self, step: float) -> NDArray[Any]:
        """Return the weight on its grid, in its own dtype."""
        return self.values_of(self.integers(step), step).astype(self.values.dtype)

    def output_error(self, values: NDArray[np.floating]) -> float:
        """Return the error of its operator's outputs with these values; the factor must be known."""
        assert self.view is not None and self.factor is not None
        return self.factor.output_error(self.view.matrices(values - self.values.astype(np.float64)))

    @cached_property
    def largest(self) -> float:
        """Return the largest absolute value, 0 of an empty weight."""
        return float(np.abs(self.values).max(initial=0.0))

    @property
    def deviation(self) -> float:
        """Return the root mean square of the values."""
        return float(np.sqrt((self.values.astype(np.float64) ** 2).mean())) if self.values.size else 0.0

    def first_step(self) -> float:
        """Return an initial step, at which the operator's outputs are off by about a tenth."""
        wide = self.values.astype(np.float64)
        deviation = self.deviation or 1.0
        if self.view is None or self.factor is None:
            return deviation / 2
        power = self.factor.conditional_power  # (groups, n)
        own = self.view.matrices(wide**2).mean(axis=1)  # (groups, n): mean square of an input's weights
        mean = float((own * power).sum() / power.sum()) if power.sum() > 0 else 0.0
        return float(np.sqrt(mean)) / 2 if mean > 0 else deviation / 2

    def bits_saved(self, step: float) -> float:
        """Return the bits that a doubled step would save over all weights, estimated from a slightly wider step.

        The estimate of a few weights, or of weights that are nearly all zero, may be 0 or less.
        """
        fine, wide = (self.entropy_bits(s) for s in (step, step * _WIDER))
        saved: float = (fine - wide) / np.log2(_WIDER)
        return saved

    def entropy_bits(self, step: float) -> float:
        """Return the order-0 entropy of the plainly rounded weight at a step, summed over all values.

        Of a vocabulary it is summed over parts, since codecs follow how the values change from word to word.
        """
        return _entropy_bits(self._rounded(step), self.rows_at(step))

    def estimated_bits(self, step: float) -> float:
        """Return about what `entropy_bits` does, from some of the values of a large weight."""
        stride = self.values.size // _SAMPLE | 1  # an odd one, since most rows have even lengths
        found = self._rounded(step, stride)
        return _entropy_bits(found, self.rows_at(step)) * self.values.size / max(1, found.size)

    @property
    def least_saved(self) -> float:
        """Return the least bits that a doubled step counts as saving."""
        return _LEAST_SAVED * self.values.size

    def _rounded(self, step: float, stride: int = 1) -> NDArray[np.int64]:
        """Return integer multiples of the steps without compensation; in the order of the view if it has columns.

        stride: take one of so many values, or of so many rows if inputs or rows have their own steps.
        """
        if (rows := self.rows_at(step)) is not None:
            return rounded(self.values[::stride] / rows.spread(step)[::stride], 1.0)
        columns = self.columns_at(step)
        if columns is None or self.view is None:
            return rounded(self.values if stride == 1 else self.values.reshape(-1)[::stride], step)
        return rounded(self.view.matrices(self.values)[:, ::stride] / columns.steps(step)[:, None], 1.0)


def _entropy_bits(integers: NDArray[np.int64], rows: RowSteps | None) -> float:
    """Return the entropy of integers, or the sum of those of PARTS parts of a vocabulary's rows."""
    parts = [integers] if rows is None else np.array_split(integers, PARTS)
    return sum(entropy_bits(part) for part in parts)


Distance = Callable[[Mapping[str, NDArray[Any]]], float]
"""Returns how much the outputs change with these values of weights, by name; 0 where none depends on them."""


@dataclass(frozen=True)
class BalancedSteps:
    """The step of each weight; and what the last round of trials measured, for weights that outputs depend on."""

    steps: Mapping[str, float]
    sensitivities: Mapping[str, Sensitivity]


def balanced_steps(
    weights: Mapping[str, WeightOnGrid], distance: Distance, advance: Callable[[], None], kept: Kept = not_kept
) -> BalancedSteps:
    """Return the step of each weight, so that all trade output error for bits at the same rate, up to a common scale.

    Each weight is changed alone, once in each round. advance: called after each trial; kept: keeps what it
    measured. A weight that no outputs depend on, since its branch wasn't taken, is judged by its own error, times the
    median of what such an error costs others.
    """
    steps = {name: weight.first_step() for name, weight in weights.items()}
    found: dict[str, Sensitivity] = {}

    def tried(name: str) -> tuple[float, float]:
        changed = weights[name].changed(steps[name])
        return distance({name: changed}), relative_error(weights[name].values, changed)

    for number in range(ROUNDS):
        moved, own = {}, {}
        for name in weights:
            key = f"round {number} of steps, {name} at {float(steps[name])!r}"
            moved[name], own[name] = kept(key, 2, partial(tried, name))
            advance()
        costs = [moved[name] / own[name] for name in weights if moved[name] > 0 and own[name] > 0]
        usual = float(np.median(costs)) if costs else 1.0
        felt = {name: moved[name] if moved[name] > 0 else usual * own[name] for name in weights}
        saved = {name: weight.bits_saved(steps[name]) for name, weight in weights.items()}
        found = {
            name: Sensitivity(moved[name], own[name], saved[name] if saved[name] >= weights[name].least_saved else None)
            for name in weights
            if moved[name] > 0 and own[name] > 0 and np.isfinite(moved[name])
        }
        steps = _moved(
            steps, {name: felt[name] / max(saved[name], weights[name].least_saved) for name in weights}, weights
        )
    return BalancedSteps(steps, found)


def _moved(
    steps: Mapping[str, float], price: Mapping[str, float], weights: Mapping[str, WeightOnGrid]
) -> dict[str, float]:
    """Return steps that bring all prices to their geometric mean, weighted by the tensors' sizes."""
    told = {name: p for name, p in price.items() if p > 0 and np.isfinite(p)}
    if not told:
        return dict(steps)
    sizes = np.array([weights[name].values.size for name in told], np.float64)
    middle = float(np.exp((sizes * np.log(list(told.values()))).sum() / sizes.sum()))
    factors = {name: float(np.clip((middle / p) ** 0.5, 1 / _MOST, _MOST)) for name, p in told.items()}
    largest = max(factors.values())
    return {name: step * factors.get(name, largest) for name, step in steps.items()}
