"""Round matrices on a trellis of eight states, with error compensation: each state may use every second multiple.

A state belongs to one of two quantizers: the even multiples of a step, or zero and the odd ones. The parity of an
integer leads to the next state, so a decoder follows. The integers with the smallest output error are found by
Viterbi's algorithm; each survivor carries the weights of its own row, corrected by its own errors. Trellis-coded
quantization is Marcellin and Fischer (1990); this trellis is that of dependent quantization in the Enhanced Compression
Model of video coding, of which NNCodec uses the smaller one.
"""

import numpy as np
from numpy.typing import NDArray

from qacomp.rate.compensation import Factor

NEXT = np.array([[0, 2], [5, 7], [1, 3], [6, 4], [2, 0], [4, 6], [3, 1], [7, 5]])
"""The next state, by state and parity of the integer; a state's quantizer is its lowest bit."""
MOST = 255
"""The largest absolute value of an integer."""
_NEAR = np.array([-2, -1, 0, 1, 2])  # candidates beside the nearest integer: two of each parity at least
_BEFORE = [[(s, p) for s in range(len(NEXT)) for p in (0, 1) if NEXT[s, p] == t] for t in range(len(NEXT))]


def multiples(integers: NDArray[np.integer], quantizer: NDArray[np.integer]) -> NDArray[np.int64]:
    """Return the multiples of the step that integers stand for; quantizer: 0 or 1 for each."""
    return 2 * integers - np.sign(integers) * quantizer


def on_trellis(
    weights: NDArray[np.float64], factor: Factor, step: float, price: float, bits: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return (integers, quantizers) of rows of weights (rows, n), each row a path from state 0.

    bits: (2, 2 · MOST + 1), of each integer under each quantizer; price: of a bit, in squared steps of mean power.
    """
    rows, count = weights.shape
    states, upper = len(NEXT), factor.upper[0]
    of = np.arange(states) & 1
    left = np.repeat(weights[:, None, :].astype(np.float64), states, axis=1)  # (rows, states, n)
    cost = np.full((rows, states), np.inf)
    cost[:, 0] = 0.0
    power = factor.conditional_power[0] / factor.conditional_power[0].mean()
    came, took = np.zeros((count, rows, states), np.int8), np.zeros((count, rows, states), np.int16)
    row = np.arange(rows)[:, None]
    for j in range(count):
        best = _candidates(left[:, :, j] / step, of, power[j], price, bits)
        chosen, before, integers = (np.empty((rows, states), t) for t in (np.float64, np.int64, np.int64))
        for t, ((a, pa), (b, pb)) in enumerate(_BEFORE):
            one, other = cost[:, a] + best[pa][0][:, a], cost[:, b] + best[pb][0][:, b]
            first = one <= other
            chosen[:, t] = np.where(first, one, other)
            before[:, t] = np.where(first, a, b)
            integers[:, t] = np.where(first, best[pa][1][:, a], best[pb][1][:, b])
        cost, came[j], took[j] = chosen, before, integers
        moved = left[row, before, j:]
        error = (moved[..., 0] - multiples(integers, of[before]) * step) / upper[j, j]
        left[:, :, j + 1 :] = moved[..., 1:] - error[..., None] * upper[j, j + 1 :]
    return _traced(cost.argmin(1), came, took)


def _candidates(
    wanted: NDArray[np.float64], of: NDArray[np.int64], power: float, price: float, bits: NDArray[np.float64]
) -> list[tuple[NDArray[np.float64], NDArray[np.int64]]]:
    """Return for each parity the (cost, integer) of the best integer at each row and state (rows, states)."""
    nearest = np.rint((wanted + np.sign(wanted) * of) / 2).astype(np.int64)
    tried = np.clip(nearest[..., None] + _NEAR, -MOST, MOST)
    tried = np.concatenate([tried, np.zeros((*nearest.shape, 1), np.int64)], axis=-1)
    cost = (wanted[..., None] - multiples(tried, of[:, None])) ** 2 * power + price * bits[of[:, None], tried + MOST]
    found = []
    for parity in (0, 1):
        own = np.where((tried & 1) == parity, cost, np.inf)
        place = own.argmin(-1)[..., None]
        found.append((np.take_along_axis(own, place, -1)[..., 0], np.take_along_axis(tried, place, -1)[..., 0]))
    return found


def _traced(
    last: NDArray[np.int64], came: NDArray[np.int8], took: NDArray[np.int16]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return (integers, quantizers) (rows, n) of the paths that end in the states `last`."""
    count, rows, _ = came.shape
    integers, quantizers = np.empty((rows, count), np.int64), np.empty((rows, count), np.int64)
    state, row = last, np.arange(rows)
    for j in range(count - 1, -1, -1):
        integers[:, j] = took[j, row, state]
        state = came[j, row, state].astype(np.int64)
        quantizers[:, j] = state & 1
    return integers, quantizers
