"""A kept share of the parameters as a constraint on states: EPruning's "predefined number of active states"."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from qacomp.training.pruning.counting import ParameterCount
from qacomp.training.pruning.units import States


class KeepRate:
    """The repair that brings every state to `rate` of the network's parameters, C_in counted: below by a unit at most.

    Units are switched off (or on) in a random order, all but those that stay as they are, until the share is met. The
    share only falls along such an order, so how many of them is found by bisection, for all states at once.
    """

    def __init__(self, count: ParameterCount, rate: float) -> None:
        self.count, self.rate = count, rate
        self.free = count.units.free

    def __call__(self, states: States, rng: np.random.Generator) -> States:
        """(S, D) -> (S, D)."""
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
    """The state (D,) of highest `scores` ((units,) by layer name) that keeps `rate` of the parameters.

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
