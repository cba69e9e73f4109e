"""Mix the predictions of several contexts into the probability of a bit, all in integers.

Each context counts its zeros and ones. Its prediction is log2 of the odds of a one, in 1/64 octaves; the mixed
prediction is a weighted sum of these, and the weights follow the bits that come (Mahoney 2005, "Adaptive weighing of
context models for lossless data compression", the paper of PAQ). Counts and weights change only between batches.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from qacomp.formats.codecs.bitlanes import BITS
from qacomp.formats.codecs.contextcounts import Ints, add_each
from qacomp.formats.codecs.contextmodel import OCTAVE, log2_fixed

COUNT_BITS = 9
"""A context counts fewer than 2**9 bits; then both counts are halved."""
WEIGHT_ONE = 1 << 16
_SUM = 8 * WEIGHT_ONE // 5  # of the weights of a set at the start; chosen as RATE was, and hardly matters
_HEAVIEST = 16 * WEIGHT_ONE  # keeps sums of products small; weights of real indices are far below
_MOST = 12 * OCTAVE  # odds of a mixed prediction
_LEAST = 8  # probability of a bit, in 1/32768
RATE, DAMPING = 1 << 18, 2_000_000_000
"""Step of the weights: RATE * gradient / (curvature + DAMPING); chosen on ResNet-20's trained and untrained indices."""


@cache
def exponentials() -> Ints:
    """Return 65536 * 2**(i / 64), rounded, for i below 64."""
    return np.array([round(65_536 * 2 ** (i / OCTAVE)) for i in range(OCTAVE)], np.int64)


@cache
def _logs() -> Ints:
    """Return log2 of five times a count, plus two, in 1/64 octaves."""
    return log2_fixed(5 * np.arange(1 << COUNT_BITS) + 2).astype(np.int64)


def probabilities(odds: Ints) -> Ints:
    """Return probabilities of a one, in 1/32768, from log2 of its odds in 1/64 octaves; none is 0 or 1."""
    size = np.minimum(np.abs(odds), _MOST)
    small = (1 << BITS + 16) // (65_536 + (exponentials().take(size & OCTAVE - 1) << (size >> 6)))
    found: Ints = np.clip(np.where(odds < 0, small, (1 << BITS) - small), _LEAST, (1 << BITS) - _LEAST)
    return found


class Mixer:
    """Holds the counts of all contexts, and the weights of their predictions: a set of weights for each kind of bit.

    slots: number of contexts; shape: (sets, inputs) of the weights, which are _SUM / inputs at the start.
    """

    def __init__(self, slots: int, shape: tuple[int, int]) -> None:
        self._zeros: Ints = np.zeros(slots, np.int64)
        self._ones: Ints = np.zeros(slots, np.int64)
        self._odds: Ints = np.zeros(slots, np.int64)
        self.weights: Ints = np.full(shape, _SUM // shape[1], np.int64)

    def predict(self, contexts: Ints, number: int) -> tuple[Ints, Ints]:
        """Return (inputs, probabilities of a one) under a set of weights; contexts: (inputs, n) slots."""
        inputs = self._odds.take(contexts)
        return inputs, probabilities((self.weights[number] @ inputs) >> 16)

    def update(self, contexts: Ints, number: int, predicted: tuple[Ints, Ints], bits: NDArray[np.bool_]) -> None:
        """Update the weights by their gradient on a batch of bits, and the counts by these bits."""
        inputs, ones = predicted
        errors = np.where(bits, 1 << BITS, 0) - ones
        gradient = inputs @ errors
        curvature = (inputs * inputs) @ (ones * ((1 << BITS) - ones) >> BITS)
        steps = [
            (abs(g) * RATE // (c + DAMPING)) * (1 if g > 0 else -1)
            for g, c in zip(gradient.tolist(), curvature.tolist(), strict=True)
        ]
        self.weights[number] = np.clip(self.weights[number] + steps, -_HEAVIEST, _HEAVIEST)
        add_each(self._ones, contexts[:, bits].reshape(-1))
        add_each(self._zeros, contexts[:, ~bits].reshape(-1))
        touched = contexts.reshape(-1)
        zeros, ones = self._zeros.take(touched), self._ones.take(touched)
        total = zeros + ones
        if int(total.max()) >> COUNT_BITS:
            shift = np.maximum(np.frexp(total.astype(np.float64))[1] - COUNT_BITS, 0)
            zeros >>= shift
            ones >>= shift
            self._zeros[touched], self._ones[touched] = zeros, ones
        self._odds[touched] = _logs().take(ones) - _logs().take(zeros)
