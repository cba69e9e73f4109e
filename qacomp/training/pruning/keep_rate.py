"""A kept share of the parameters as a constraint on states: EPruning's "predefined number of active states".

EPruning's search starts from the paper's random states, or from some near magnitude pruning's own (`near_magnitude`).
What matters most for a trained network is how the parameters are divided between its layers: at one number of
parameters the energies of such divisions lie further apart than those of choices within the layers. Evolution by single
units hardly moves it, so the first states differ in it, and the search takes the best of many into its population.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from qacomp.training.pruning.counting import ParameterCount
from qacomp.training.pruning.units import States

DRAWN = 8  # states for each place in the population
_SLOPE, _JITTER, _NOISE = 0.5, 0.1, 0.05  # standard deviations of logarithms


class KeepRate:
    """The repair that brings every state to `rate` of the network's parameters, C_in counted: below by a unit at most.

    Units are switched off (or on) in a random order, all but those that stay as they are, until the share is met. The
    share only falls along such an order, so how many of them is found by bisection, for all states at once.
    """

    def __init__(self, count: ParameterCount, rate: float) -> None:
        self.count, self.rate = count, rate
        self.free = count.units.free

    def __call__(self, states: States, rng: np.random.Generator) -> States:
        """Bring states (S, D) to the rate: (S, D)."""
        target = self.rate * self.count.total
        heavy = self.count(states) > target  # (S,)
        order = rng.random(states.shape)  # (S, D): the later, the sooner switched
        # ranks: of a heavy state its active units first in line to go, of a light one its inactive ones to come back
        movable = np.where(heavy[:, None], states, ~states) & self.free
        rank = np.argsort(np.argsort(np.where(movable, order, 2.0), axis=1), axis=1)  # (S, D)
        low, high = np.zeros(len(states), np.int64), movable.sum(axis=1)
        while (low < high).any():
            middle = (low + high) // 2
            kept = self.count(_switched(states, movable, rank, middle))
            reached = np.where(heavy, kept <= target, kept >= target)
            high = np.where(reached, middle, high)
            low = np.where(reached, low, np.minimum(middle + 1, high))
        above = self.count(_switched(states, movable, rank, low)) > target  # the unit that a light state has too many
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
    """Return the state (D,) of highest `scores` ((units,) by layer name) that keeps `rate` of the parameters.

    The same share of its units stays in every layer, or one in proportion to the layer's factor in `division`;
    `together`: all units are ranked in one list instead. A layer keeps a unit in any case.
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
    """Return magnitude pruning's state by `scores`, then others near it, all at most `rate`: (number, D).

    Each divides the parameters in its own way between the layers: a layer's share of units is multiplied by
    exp(a·depth + b), a ~ N(0, 0.5²) one number a state, depth from 0 to 1, b ~ N(0, 0.1²) one a layer. Within a layer
    the choice is that of slightly noisy magnitudes.
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
