"""A constraint on states: the share of the parameters that they keep (EPruning's "predefined number of active states").

EPruning's search starts from random states as in the paper, or from states near the one of magnitude pruning
(`near_magnitude`). For a trained network it matters most how the kept parameters are divided between layers: with the
same number of parameters, energies differ more between such divisions than between choices within a layer. Evolution
switches single units and hardly changes the division. So the first states differ in it, and the search takes the best
of many into its population.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from qacomp.training.pruning.counting import ParameterCount
from qacomp.training.pruning.units import States

DRAWN = 8  # first states that are drawn for each state of the population
_SLOPE, _JITTER, _NOISE = 0.5, 0.1, 0.05  # standard deviations of logarithms; see `near_magnitude`


class KeepRate:
    """A repair that makes every state keep at most `rate` of the parameters, and less than one unit below that.

    Free units are switched off (or on) in a random order until the share is met. The share is monotone along that
    order, so the number of units to switch is found by bisection, for all states at once.
    """

    def __init__(self, count: ParameterCount, rate: float) -> None:
        self.count, self.rate = count, rate
        self.free = count.units.free

    def __call__(self, states: States, rng: np.random.Generator) -> States:
        """Return the states (S, D) with units switched until each keeps the rate: (S, D)."""
        target = self.rate * self.count.total
        heavy = self.count(states) > target  # (S,)
        order = rng.random(states.shape)  # (S, D)
        # In a state with too many parameters its active units come first in the order, else its inactive units.
        movable = np.where(heavy[:, None], states, ~states) & self.free
        rank = np.argsort(np.argsort(np.where(movable, order, 2.0), axis=1), axis=1)  # (S, D)
        low, high = np.zeros(len(states), np.int64), movable.sum(axis=1)
        while (low < high).any():
            middle = (low + high) // 2
            kept = self.count(_switched(states, movable, rank, middle))
            reached = np.where(heavy, kept <= target, kept >= target)
            high = np.where(reached, middle, high)
            low = np.where(reached, low, np.minimum(middle + 1, high))
        above = self.count(_switched(states, movable, rank, low)) > target  # one unit too many was switched on
        return _switched(states, movable, rank, low - (above & ~heavy & (low > 0)))


def _switched(states: States, movable: NDArray[np.bool_], rank: NDArray[np.int64], moves: NDArray[np.int64]) -> States:
    return states ^ (movable & (rank < moves[:, None]))


def uniform_share(
    count: ParameterCount,
    scores: dict[str, NDArray[np.float64]],
    rate: float,
    *,
    together: bool = False,
    division: Mapping[str, float] | None = None,
) -> NDArray[np.bool_]:
    """Return the state (D,) that keeps the units of highest `scores` ((units,) by layer name) and `rate` of parameters.

    Every layer keeps the same share of its units, or a share in proportion to the layer's factor in `division`.
    together: rank the units of all layers in one list instead. A layer always keeps at least one unit.
    """
    low, high = 0.0, 1.0 / min(division.values(), default=1.0) if division else 1.0
    if rate >= 1:
        return _highest(count, scores, high, together, division)
    for _ in range(20):
        middle = (low + high) / 2
        if int(count(_highest(count, scores, middle, together, division)[None])[0]) <= rate * count.total:
            low = middle
        else:
            high = middle
    return _highest(count, scores, low, together, division)


def _highest(
    count: ParameterCount,
    scores: dict[str, NDArray[np.float64]],
    share: float,
    together: bool,
    division: Mapping[str, float] | None,
) -> NDArray[np.bool_]:
    state = np.ones(count.units.count, bool)
    pooled = np.concatenate([scores[g.layer.name] for g in count.units.groups]) if together else None
    for group in count.units.groups:
        if group.fixed:
            continue
        values = scores[group.layer.name]  # (units,)
        order = np.argsort(-values, kind="stable")
        above = values if pooled is None else values[values >= np.quantile(pooled, 1 - share)]
        own = share * (division[group.layer.name] if division else 1.0)
        number = round(own * len(values)) if pooled is None else len(above)
        state[group.genes] = False
        state[group.start + order[: max(1, number)]] = True
    return state


def near_magnitude(
    count: ParameterCount, scores: dict[str, NDArray[np.float64]], rate: float, number: int, rng: np.random.Generator
) -> States:
    """Return the state of magnitude pruning by `scores`, and other states near it: (number, D).

    All states keep at most `rate` of the parameters, divided differently between layers: the share of a layer is
    multiplied by exp(a·depth + b), with a ~ N(0, 0.5²) for each state, depth from 0 (first layer) to 1 (last), and
    b ~ N(0, 0.1²) for each layer. Within a layer units are chosen by magnitudes with a little noise.
    """
    names = [group.layer.name for group in count.units.groups]
    depth = np.linspace(0.0, 1.0, len(names))
    states = [uniform_share(count, scores, rate)]
    for _ in range(number - 1):
        factors = np.exp(_SLOPE * rng.standard_normal() * depth + _JITTER * rng.standard_normal(len(names)))
        noisy = {n: s * np.exp(_NOISE * rng.standard_normal(len(s))) for n, s in scores.items()}
        division = dict(zip(names, factors.tolist(), strict=True))
        states.append(uniform_share(count, noisy, rate, division=division))
    return np.stack(states)
