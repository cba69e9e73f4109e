"""Search one scale of all steps: the smallest file that is good enough, or the best one that is small enough.

Steps on a logarithmic line: bytes fall and errors grow with the scale, but for the noise of rounding.
"""

import math
from collections.abc import Callable

_FIRST = 1.6  # by how much a bracket grows
_MOST_TRIALS = 24
_NARROW = 1.01  # of a bracket: steps that are 1 % apart


def scale_for_size(bytes_at: Callable[[float], int], most: int, within: float = 0.005, start: float = 1.0) -> float:
    """Return a scale whose file takes no more than `most` bytes, and no less than (1 − within) of it where that exists.

    bytes_at: measures the bytes at a scale. Where even a very large one takes more, that one is returned.
    """
    low, high = None, None  # (log scale, bytes): too large a file, small enough a file
    scale = start
    for _ in range(_MOST_TRIALS):
        size = bytes_at(scale)
        point = math.log(scale), size
        if size > most:
            low = point
        else:
            high = point
            if size >= most * (1 - within):
                return scale
        if low is None or high is None:
            scale *= _FIRST if high is None else 1 / _FIRST
        elif high[0] - low[0] < 1e-4:
            break
        else:
            scale = math.exp(_between(low, high, most * (1 - within / 2)))
    return math.exp(high[0]) if high is not None else scale


def _between(low: tuple[float, int], high: tuple[float, int], wanted: float) -> float:
    """Return where a straight line between two points is at `wanted` bytes, kept away from both ends."""
    share = (low[1] - wanted) / max(1, low[1] - high[1])
    return low[0] + min(max(share, 0.1), 0.9) * (high[0] - low[0])


def largest_scale(good: Callable[[float], bool], start: float = 1.0) -> float | None:
    """Return the largest scale, within 1 %, at which `good` holds, None where it holds at none that is tried."""
    low: float | None = None
    high: float | None = None
    scale = start
    for _ in range(_MOST_TRIALS):
        if good(scale):
            low = scale
        else:
            high = scale
        if low is None:
            scale /= _FIRST
        elif high is None:
            scale *= _FIRST
        elif high / low < _NARROW:
            break
        else:
            scale = math.sqrt(low * high)
    return low
