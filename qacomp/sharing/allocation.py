"""More shared values where a tensor needs them: bits go where they take away most error (Shoham & Gersho, 1988).

A tensor's error is the mean over its output channels of |w − c|² / |w|²: each channel feeds a unit of its own, and
what follows scales a quiet one up again. Fine codebooks are fitted to that measure too.
"""

import math
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

FACTORS = (1, 2, 3, 4, 6, 16)
"""Times K: digits of these bases fill bytes well, so an index takes 0, 1, 1.6, 2, 2.7 or 4 bits more."""
_MAX_K = 65_536
_ENTRY_BITS = 16  # of a codebook's value, and of a weight in half precision
_PLANE_BITS = 27.0  # about what lossless planes of trained weights take
FINE_K = 256
"""From so many values on the errors are small enough for outputs to follow them linearly, channel by channel."""


def relative_error(original: NDArray[np.floating], shared: NDArray[np.floating], axis: int) -> float:
    """Return the mean over the output channels along `axis` of |w − c|² / |w|²; channels of zeros don't count."""
    rows, read = (np.moveaxis(a, axis, 0).reshape(a.shape[axis], -1).astype(np.float64) for a in (original, shared))
    power = np.einsum("ij,ij->i", rows, rows)  # (channels,)
    rows -= read
    lost = np.einsum("ij,ij->i", rows, rows)
    living = power > 0
    return float((lost[living] / power[living]).mean()) if living.any() else 0.0


def channel_weights(values: NDArray[np.floating], axis: int) -> NDArray[np.float64]:
    """Return the weight of each value's squared error for k-means, in values' shape: less in channels of large weights.

    1 / (p + p̄), with p the mean square of the value's channel and p̄ that of the tensor: half-way between the absolute
    and the relative error, lest channels of next to nothing take the codebook. Output channels run along `axis`.
    """
    rows = np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1).astype(np.float64)
    power = np.einsum("ij,ij->i", rows, rows) / max(1, rows.shape[1])  # (channels,)
    counts = 1 / (power + power.mean()) if power.any() else np.ones_like(power)
    shape = [1] * values.ndim
    shape[axis] = -1
    return np.broadcast_to(counts.reshape(shape), values.shape)


def distinct_values(values: NDArray[np.floating]) -> int:
    """Count the different values: what repeats itself costs no bits again."""
    ordered = np.sort(values.reshape(-1))
    return int(np.count_nonzero(ordered[1:] != ordered[:-1])) + 1 if ordered.size else 0


def allocate(values: Mapping[str, int], k: int, error: Callable[[str, int], float], share: float) -> dict[str, int]:
    """Choose the shared values of each tensor, so that the errors' sum falls to `share` of what it is at `k`.

    values: tensor -> how many distinct weights it has; error: of a tensor at so many shared values. Step after step
    that tensor gets more which loses most error for a bit; where all have their most the sum may still be larger.
    """
    sizes = {name: _sizes(distinct, k) for name, distinct in values.items()}
    steps = dict.fromkeys(values, 0)
    now = {name: error(name, k) for name in values}
    budget = share * sum(now.values())
    while sum(now.values()) > budget:
        gains = {name: _gain(now[name], sizes[name][step:], values[name]) for name, step in steps.items()}
        best = max(gains, key=lambda name: gains[name], default=None)
        if best is None or gains[best] <= 0:
            break
        steps[best] += 1
        now[best] = error(best, sizes[best][steps[best]])
    return {name: sizes[name][step] for name, step in steps.items()}


def _sizes(values: int, k: int) -> list[int]:
    """Return how many shared values a tensor of so many distinct weights may have: k, more, and at the end all of them.

    Steps that would take as many bits as half precision are left out: beyond them it is better kept as it is.
    """
    more = (k * factor for factor in FACTORS[1:] if k * factor <= min(_MAX_K, values))
    sizes = [k, *(n for n in more if _ENTRY_BITS * n + values * math.log2(n) < _ENTRY_BITS * values)]
    return [*sizes, values] if sizes[-1] < values <= _MAX_K else sizes


def _gain(error: float, sizes: list[int], values: int) -> float:
    """Estimate how much error the next of `sizes` saves for a bit of the file; 0 where there is none.

    On a fine codebook m times as many values leave 1 / m² of the error (Bennett, 1948).
    """
    if len(sizes) < 2:
        return 0.0
    if sizes[1] == values:
        return error / (max(1, values) * max(1.0, _PLANE_BITS - math.log2(sizes[0])))
    times = sizes[1] / sizes[0]
    return error * (1 - times**-2) / (max(1, values) * math.log2(times))
