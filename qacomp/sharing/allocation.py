"""Allocate shared values to tensors: each bit goes where it lowers the error most (Shoham & Gersho, 1988).

A tensor's error is the mean over its output channels of |w − c|² / |w|². The relative error counts, since later layers
scale the outputs of a channel with small weights up again. Fine codebooks are fitted to this error too.
"""

import math
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

FACTORS = (1, 2, 3, 4, 6, 16)
"""Multiples of K to try. Digits of these bases fill bytes well: an index takes 0, 1, 1.6, 2, 2.7 or 4 bits more."""
_MAX_K = 65_536
_ENTRY_BITS = 16  # bits of a codebook's value, and of a weight in fp16
_PLANE_BITS = 27.0  # about the bits of a trained float32 weight in lossless planes
FINE_K = 256
"""From this many values on, errors are so small that outputs change linearly with them, channel by channel."""


def relative_error(original: NDArray[np.floating], shared: NDArray[np.floating], axis: int) -> float:
    """Return the mean of |w − c|² / |w|² over the output channels along `axis`; channels of zeros don't count."""
    rows, read = (np.moveaxis(a, axis, 0).reshape(a.shape[axis], -1).astype(np.float64) for a in (original, shared))
    power = np.einsum("ij,ij->i", rows, rows)  # (channels,)
    rows -= read
    lost = np.einsum("ij,ij->i", rows, rows)
    living = power > 0
    return float((lost[living] / power[living]).mean()) if living.any() else 0.0


def channel_weights(values: NDArray[np.floating], axis: int) -> NDArray[np.float64]:
    """Return the weight of each value's squared error for k-means, in the values' shape: less in large channels.

    The weight is 1 / (p + p̄), where p is the mean square of the value's channel and p̄ that of the tensor. This is
    between the absolute and the relative error, so that channels of tiny weights don't take most of the codebook. axis:
    that of the output channels.
    """
    rows = np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1).astype(np.float64)
    power = np.einsum("ij,ij->i", rows, rows) / max(1, rows.shape[1])  # (channels,)
    counts = 1 / (power + power.mean()) if power.any() else np.ones_like(power)
    shape = [1] * values.ndim
    shape[axis] = -1
    return np.broadcast_to(counts.reshape(shape), values.shape)


def distinct_values(values: NDArray[np.floating]) -> int:
    """Count the distinct values."""
    ordered = np.sort(values.reshape(-1))
    return int(np.count_nonzero(ordered[1:] != ordered[:-1])) + 1 if ordered.size else 0


def allocate(values: Mapping[str, int], k: int, error: Callable[[str, int], float], share: float) -> dict[str, int]:
    """Return the number of shared values of each tensor, so that the sum of errors falls to `share` of that at `k`.

    values: number of distinct weights by tensor; error: returns the error of a tensor with a number of shared values.
    In each step the tensor whose error falls most for each bit gets more values. If all tensors have their maximum, the
    sum may still be larger.
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
    """Return the numbers of shared values that a tensor may have: k, multiples of k, and last all distinct values.

    values: number of distinct weights. Numbers that would take as many bits as fp16 are left out, since keeping the
    tensor is better then.
    """
    more = (k * factor for factor in FACTORS[1:] if k * factor <= min(_MAX_K, values))
    sizes = [k, *(n for n in more if _ENTRY_BITS * n + values * math.log2(n) < _ENTRY_BITS * values)]
    return [*sizes, values] if sizes[-1] < values <= _MAX_K else sizes


def _gain(error: float, sizes: list[int], values: int) -> float:
    """Estimate how much the error falls for each bit of the file with the next of `sizes`; 0 if there is no next.

    In a fine codebook, m times as many values leave 1 / m² of the error (Bennett, 1948).
    """
    if len(sizes) < 2:
        return 0.0
    if sizes[1] == values:
        return error / (max(1, values) * max(1.0, _PLANE_BITS - math.log2(sizes[0])))
    times = sizes[1] / sizes[0]
    return error * (1 - times**-2) / (max(1, values) * math.log2(times))
