"""Search the largest scale at which a tuned model keeps a limit, in few trials: each one tunes the model anew.

The limit was searched without tuning before, which is cheap. Tuning mostly lets the scale grow by some factor, which is
read off the first trial.
"""

import math
from collections.abc import Callable, Mapping
from itertools import pairwise

TUNINGS = 6
"""Most trials from the first one on that keeps the limit: between scales that lie 2 apart they leave about 1.05."""
_NARROW = 1.04  # ratio of the last two scales: one to two per cent of the bytes
_SMALLEST, _LARGEST = 1.1, 2.0  # factors by which the scale may grow at once, where the first trial says how far
_UNKNOWN = 1.6  # the factor where nothing says how far
_SMALLER = 1.15  # the first factor down, where tuning made a model worse
_EDGE = 0.25  # a trial between two scales stays so far from both, as a part of their distance


def largest_tuned_scale(
    excess: Callable[[float], float], start: float, untuned: Mapping[float, float], most: int
) -> float | None:
    """Return the largest scale that keeps the limit after tuning, of those that are tried; None if none does.

    excess: tunes the model at a scale and returns by how much it misses the limit, in any unit; at most 0 if it keeps
    it. start: the scale that is tried first; untuned: the same excess before tuning, by scale, as it was measured
    around `start`; empty if that isn't known. most: trials; at most TUNINGS from the first one on that keeps the limit.
    """
    low: tuple[float, float] | None = None  # (scale, excess)
    high: tuple[float, float] | None = None
    scale, first = start, most
    for trial in range(most):
        if trial >= first + TUNINGS:
            break
        found = excess(scale)
        if found <= 0:
            low, first = (scale, found), min(first, trial)
        else:
            high = scale, found
        if low is None:
            scale /= _SMALLER if trial == 0 and untuned else _UNKNOWN
        elif high is None:
            scale *= _gain(scale, found, untuned) if trial == 0 else _growth(untuned)
        elif high[0] / low[0] < _NARROW:
            break
        else:
            scale = low[0] * (high[0] / low[0]) ** _part(low[1], high[1])
    return None if low is None else low[0]


def _growth(untuned: Mapping[float, float]) -> float:
    return _SMALLEST if untuned else _UNKNOWN


def _gain(scale: float, found: float, untuned: Mapping[float, float]) -> float:
    """Return the ratio of a scale to the one that misses the limit by as much before tuning as `scale` does after it.

    Between the scales that were measured the excess is taken as linear in their logarithms.
    """
    if not untuned:
        return _UNKNOWN
    points = sorted((math.log(s), e) for s, e in untuned.items() if math.isfinite(e))
    alike = points[0][0] if points else -math.inf
    for (x, a), (y, b) in pairwise(points):
        if a <= found < b:
            alike = x + (found - a) / (b - a) * (y - x)
    return min(max(math.exp(math.log(scale) - alike), _SMALLEST), _LARGEST) if points else _SMALLEST


def _part(low: float, high: float) -> float:
    """Return where between two scales a line through their excesses meets the limit, as a part of the distance."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return 0.5
    return min(max(-low / (high - low), _EDGE), 1 - _EDGE)
