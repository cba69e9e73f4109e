"""Search the common scale of all steps: the smallest file that is good enough, or the best one that is small enough.

The search is over the logarithm of the scale. Apart from rounding noise, bytes fall and errors grow with the scale.
"""

import math
from collections.abc import Callable

Estimate = Callable[[float], float]
"""Returns about how many bytes a scale takes, without coding: only the ratio of two estimates counts."""
_FIRST = 1.6  # factor by which the bracket grows until it holds the solution
_MOST_TRIALS = 24
_FLAT = 6  # factors in a row that leave the bytes as they are: all weights are zero by then, or all stay exact
_NARROW = 1.01  # ratio of a bracket's ends at which the search stops
_GUESSES = 5  # an estimate that hasn't led to the size by then misleads
_ESTIMATES, _FARTHEST = 20, math.log(64)  # estimates for one guess: of a log scale to 64 · 2⁻²⁰; its largest distance


def scale_for_size(
    bytes_at: Callable[[float], int],
    most: int,
    within: float = 0.005,
    start: float = 1.0,
    estimate: Estimate | None = None,
) -> float:
    """Return a scale whose file takes at most `most` bytes and, if such a scale is found, at least (1 − within) · most.

    bytes_at: measures the bytes at a scale; estimate: tells where to look next, so that few scales are measured. If
    even a very large scale takes more bytes, that scale is returned.
    """
    wanted = most * (1 - within / 2)
    low, high = None, None  # (log scale, bytes): file too large; file small enough
    scale = start
    before, same = None, 0
    for trial in range(_MOST_TRIALS):
        size = bytes_at(scale)
        same, before = same + 1 if size == before else 0, size
        if same == _FLAT and (low is None or high is None):
            break
        point = math.log(scale), size
        if size > most:
            low = point
        else:
            high = point
            if size >= most * (1 - within):
                return scale
        if low is not None and high is not None and high[0] - low[0] < 1e-4:
            break
        guess = None if estimate is None or trial >= _GUESSES else _guessed(estimate, point, wanted)
        if guess is not None and (low is None or guess > low[0]) and (high is None or guess < high[0]):
            scale = math.exp(guess)
        elif low is None or high is None:
            scale *= _FIRST if high is None else 1 / _FIRST
        else:
            scale = math.exp(_between(low, high, wanted))
    return math.exp(high[0]) if high is not None else scale


def _guessed(estimate: Estimate, point: tuple[float, int], wanted: float) -> float | None:
    """Return the log scale at which the estimate has changed as much as bytes shall, from the scale of `point` on.

    None if no scale within a factor of 64 is estimated to have that many bytes.
    """
    here, size = point
    aim = estimate(math.exp(here)) * wanted / max(1, size)
    low, high = (here, here + _FARTHEST) if wanted < size else (here - _FARTHEST, here)
    most, least = estimate(math.exp(low)), estimate(math.exp(high))
    if not least <= aim <= most or least == most:
        return None
    for _ in range(_ESTIMATES):
        middle = (low + high) / 2
        if estimate(math.exp(middle)) > aim:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _between(low: tuple[float, int], high: tuple[float, int], wanted: float) -> float:
    """Return the log scale at which a line through two points has `wanted` bytes, kept away from both ends."""
    share = (low[1] - wanted) / max(1, low[1] - high[1])
    return low[0] + min(max(share, 0.1), 0.9) * (high[0] - low[0])


def largest_scale(
    good: Callable[[float], bool], start: float = 1.0, most: int = _MOST_TRIALS, narrow: float = _NARROW
) -> float | None:
    """Return the largest scale for which `good` is true; None if it is false for every scale that is tried.

    most: trials; narrow: the search stops where a scale is that much smaller, as a ratio, than one that isn't good.
    """
    low: float | None = None
    high: float | None = None
    scale = start
    for _ in range(most):
        if good(scale):
            low = scale
        else:
            high = scale
        if low is None:
            scale /= _FIRST
        elif high is None:
            scale *= _FIRST
        elif high / low < narrow:
            break
        else:
            scale = math.sqrt(low * high)
    return low
