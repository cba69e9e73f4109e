"""The states that EPruning's search starts from: the paper's random ones, or some near magnitude pruning's own.

What matters most for a trained network is how the parameters are divided between its layers: at one number of
parameters the energies of such divisions lie further apart than those of choices within the layers. Evolution by single
units hardly moves it, so the first states differ in it, and the search takes the best of many into its population.
"""

import numpy as np
from numpy.typing import NDArray

from qacomp.training.pruning.counting import ParameterCount
from qacomp.training.pruning.keep_rate import uniform_share
from qacomp.training.pruning.units import States

DRAWN = 8  # states for each place in the population
_SLOPE, _JITTER, _NOISE = 0.5, 0.1, 0.05  # standard deviations of logarithms


def near_magnitude(
    count: ParameterCount, scores: dict[str, NDArray[np.float64]], rate: float, number: int, rng: np.random.Generator
) -> States:
    """(number, D): the state that magnitude pruning would take by `scores`, then others near it, all at most `rate`.

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
