"""Encode and decode rANS lanes one step at a time, for models whose probabilities depend on decoded symbols."""

from bisect import bisect_right

import numpy as np
from numpy.typing import NDArray

from qacomp.formats.codecs.lanes import STATE_LOW, Tables
from qacomp.formats.errors import CodecError
from qacomp.formats.limits import MAX_TABLE_SLOTS


class StepEncoder:
    """Encodes one step of all lanes at a time; the last step must come first.

    states: (lanes,) first states; room: upper bound of the number of words.
    """

    def __init__(self, states: NDArray[np.uint32], bits: int, room: int) -> None:
        self.states = states
        self._bits = np.uint32(bits)
        self._shift = np.uint32(32 - bits)
        self._buffer = np.empty(room, np.uint16)
        self._end = room

    def step(self, frequency: NDArray[np.uint32], first: NDArray[np.uint32]) -> None:
        """Encode one symbol on each of the first len(frequency) lanes, given its frequency and first slot."""
        x = self.states[: len(frequency)]
        over = ((x >> self._shift) >= frequency).nonzero()[0]
        if k := len(over):
            moved = x.take(over)
            self._end -= k
            self._buffer[self._end : self._end + k] = moved
            x[over] = moved >> np.uint32(16)
        quotient = x // frequency
        x -= quotient * frequency
        x += (quotient << self._bits) + first

    def words(self) -> NDArray[np.uint16]:
        """Return all words in the order of decoding."""
        return self._buffer[self._end :]


class StepDecoder:
    """Decodes what StepEncoder encoded: set the tables with `use`, then decode a symbol on each lane with `step`."""

    def __init__(self, states: NDArray[np.uint32], words: NDArray[np.uint16], bits: int) -> None:
        self._states = states.astype(np.uint32)
        self._words, self._used = words, 0
        self._bits, self._mask = np.uint32(bits), np.uint32((1 << bits) - 1)

    def use(self, frequencies: NDArray[np.uint32], first: NDArray[np.uint32], symbols: int) -> None:
        """Set the frequencies and first slots (contexts, alphabet) of the next steps; symbols: about how many come."""
        self._frequency, self._width = frequencies.ravel(), frequencies.shape[1]
        self._first, self._rows = first.ravel(), first
        self._lists: dict[int, tuple[list[int], list[int]]] = {}  # rows as lists for `one`, filled on first use
        # A table of all slots pays off if many symbols follow; else each symbol is found among the first slots.
        self._slots: NDArray[np.uint8] | None = None
        slots = len(frequencies) << int(self._bits)
        if symbols * self._width > 2 * slots and slots <= MAX_TABLE_SLOTS:
            tables = Tables(int(self._bits), frequencies)
            self._slots = tables.symbols().astype(np.uint8)

    def step(self, contexts: NDArray[np.int64]) -> NDArray[np.integer]:
        """Decode the next symbol of the first len(contexts) lanes; raises CodecError if the words end too early."""
        x = self._states[: len(contexts)]
        slot = x & self._mask
        if self._slots is None:
            symbols: NDArray[np.integer] = (self._rows.take(contexts, axis=0) <= slot[:, None]).sum(axis=1)
            symbols -= 1
        else:
            symbols = self._slots.take((contexts << int(self._bits)) + slot)
        keys = contexts * self._width + symbols
        x >>= self._bits
        x *= self._frequency.take(keys)
        slot -= self._first.take(keys)
        x += slot
        need = (x < np.uint32(STATE_LOW)).nonzero()[0]
        if k := len(need):
            if self._used + k > len(self._words):
                raise CodecError("the coded words end early; the file is damaged")
            moved = x.take(need)
            moved <<= np.uint32(16)
            moved |= self._words[self._used : self._used + k]
            x[need] = moved
            self._used += k
        return symbols

    def one(self, lane: int, context: int) -> int:
        """Decode the next symbol of one lane, as `step` does for all; raises CodecError if the words end too early."""
        if context not in self._lists:
            low = context * self._width
            span = slice(low, low + self._width)
            self._lists[context] = self._first[span].tolist(), self._frequency[span].tolist()
        first, frequency = self._lists[context]
        state = int(self._states[lane])
        slot = state & int(self._mask)
        symbol = bisect_right(first, slot) - 1
        state = frequency[symbol] * (state >> int(self._bits)) + slot - first[symbol]
        if state < STATE_LOW:
            if self._used >= len(self._words):
                raise CodecError("the coded words end early; the file is damaged")
            state = state << 16 | int(self._words[self._used])
            self._used += 1
        self._states[lane] = state
        return symbol

    def finish(self) -> NDArray[np.uint32]:
        """Return the lanes' packed tails; raises CodecError unless all words were used."""
        if self._used != len(self._words):
            raise CodecError("the coded words don't end where the lanes end; the file is damaged")
        return self._states - np.uint32(STATE_LOW)
