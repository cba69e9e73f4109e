"""Encode and decode bits with rANS in lanes, each bit under a probability of its own.

A batch is an array of bits whose probabilities are known before any of them is decoded. Bit i of a batch belongs to
lane i % lanes; a batch starts at lane 0 again. lanes.py says what a lane is; here it starts with its state alone.
"""

import numpy as np
from numpy.typing import NDArray

from qacomp.formats.codecs.base import Array
from qacomp.formats.codecs.contextcounts import Ints
from qacomp.formats.codecs.contextmodel import OCTAVE, log2_fixed
from qacomp.formats.codecs.fewlanes import FEW_TO_ENCODE, encode_few
from qacomp.formats.codecs.lanes import STATE_LOW
from qacomp.formats.codecs.lanesteps import StepEncoder
from qacomp.formats.errors import CodecError

BITS = 15
"""Probabilities are in 1/32768."""
_FEW = 6
"""Up to so many bits a step are decoded one by one, which takes less time than array operations."""


class Recorder:
    """Keeps batches of bits with their probabilities, until all are known and can be encoded, the last one first."""

    def __init__(self) -> None:
        self._batches: list[NDArray[np.uint16]] = []  # of each bit: 2 * probability of a one + bit

    def batch(self, ones: Ints, bits: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
        """Keep bits (n,) with their probabilities of a one, and return them."""
        assert bits is not None, "there must be bits to encode"
        self._batches.append((2 * ones + bits).astype(np.uint16))
        return bits

    def cost(self) -> int:
        """Return about how many bits the batches take, in integers, so it is the same on every machine."""
        logs = sum(int(log2_fixed(_slots(batch)[0].astype(np.int64)).sum()) for batch in self._batches)
        return BITS * sum(len(batch) for batch in self._batches) - logs // OCTAVE

    def coded(self, lanes: int) -> tuple[NDArray[np.uint32], NDArray[np.uint16]]:
        """Return the lanes' first states (lanes,) and the words of all batches."""
        states = np.full(lanes, STATE_LOW, np.uint32)
        if lanes <= FEW_TO_ENCODE:
            parts = []
            for batch in reversed(self._batches):
                states, words = encode_few(states, *_slots(batch), BITS)
                parts.append(words)
            return states, np.concatenate([np.zeros(0, np.uint16), *parts[::-1]])
        encoder = StepEncoder(states, BITS, sum(len(batch) for batch in self._batches))
        for batch in reversed(self._batches):
            frequency, first = _slots(batch)
            for start in range((len(batch) - 1) // lanes * lanes, -1, -lanes):
                encoder.step(frequency[start : start + lanes], first[start : start + lanes])
        return encoder.states, encoder.words()


def _slots(batch: NDArray[np.uint16]) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Return the frequency and the first slot of each bit of a batch."""
    ones, bits = (batch >> 1).astype(np.uint32), (batch & 1).astype(bool)
    return np.where(bits, ones, np.uint32(1 << BITS) - ones), np.where(bits, np.uint32(0), ones)


class BitDecoder:
    """Decodes the batches of a Recorder, in their order."""

    def __init__(self, states: NDArray[np.uint32], words: NDArray[np.uint16]) -> None:
        self._states = states.astype(np.uint32)
        self._words, self._used = words, 0

    def batch(self, ones: Ints, bits: NDArray[np.bool_] | None = None) -> NDArray[np.bool_]:
        """Decode a bit for each probability (n,) of a 1; raises CodecError if the words end too early."""
        lanes = len(self._states)
        if min(lanes, len(ones)) <= _FEW:
            return self._each(ones)
        wide = ones.astype(np.uint32)
        found = np.empty(len(ones), bool)
        for start in range(0, len(ones), lanes):
            part = wide[start : start + lanes]
            x = self._states[: len(part)]
            slot = x & np.uint32((1 << BITS) - 1)
            bit = slot < part
            x >>= np.uint32(BITS)
            x *= np.where(bit, part, np.uint32(1 << BITS) - part)
            x += np.where(bit, slot, slot - part)
            need = (x < np.uint32(STATE_LOW)).nonzero()[0]
            if k := len(need):
                x[need] = x.take(need) << np.uint32(16) | self._next(k)
                self._used += k
            found[start : start + lanes] = bit
        return found

    def _each(self, ones: Ints) -> NDArray[np.bool_]:
        states, lanes = self._states.tolist(), len(self._states)
        found = []
        for i, one in enumerate(ones.tolist()):
            state = states[i % lanes]
            slot = state & (1 << BITS) - 1
            bit = slot < one
            state = one * (state >> BITS) + slot if bit else ((1 << BITS) - one) * (state >> BITS) + slot - one
            if state < STATE_LOW:
                state = state << 16 | int(self._next(1)[0])
                self._used += 1
            states[i % lanes] = state
            found.append(bit)
        self._states[:] = states
        return np.array(found, bool)

    def _next(self, count: int) -> Array:
        """Return the next words. Raises CodecError if fewer are left."""
        if self._used + count > len(self._words):
            raise CodecError("the coded words end early; the file is damaged")
        return self._words[self._used : self._used + count]

    def finish(self) -> None:
        """Raise CodecError unless all words were used and every lane ended where the encoder started it."""
        if self._used != len(self._words) or (self._states != np.uint32(STATE_LOW)).any():
            raise CodecError("the coded words don't end where the lanes end; the file is damaged")
