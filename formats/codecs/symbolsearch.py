"""Find the symbols of slots in several contexts at once, by comparison with the symbols' first slots or in a table."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from qacomp.formats.codecs.contextcounts import Counts, Ints
from qacomp.formats.limits import MAX_TABLE_SLOTS

_STEP_SLOTS, _SYMBOL_SLOTS = 6000, 25
"""Slots whose table is made in the time that it saves in a step of all lanes, and for a symbol; measured."""
_REPEATED = 64
"""Up to this many symbols in an alphabet, a slot is repeated for all of them before the comparison."""
_EVERY_BYTE, _HIGHEST_BYTE = np.uint64(0x0101010101010101), np.uint64(56)


@lru_cache(maxsize=2)
def _repeated(bits: int, width: int) -> NDArray[np.uint16]:
    """Return every slot, repeated: (2**bits, width), at most 2 MiB."""
    return np.repeat(np.arange(1 << bits, dtype=np.uint16), width).reshape(-1, width)


class SymbolSearch:
    """Finds symbols for one epoch; keys are context * width + symbol.

    share, first: frequency and first slot by key, int64; steps, symbols: about how many come.
    """

    def __init__(self, counts: Counts, steps: int, symbols: int) -> None:
        contexts, self._width = counts.frequencies.shape
        self.share: Ints = counts.frequencies.reshape(-1).astype(np.int64)
        self.first: Ints = counts.first.reshape(-1).astype(np.int64)
        slots = contexts << counts.bits
        if slots <= min(steps * _STEP_SLOTS + symbols * _SYMBOL_SLOTS, MAX_TABLE_SLOTS):
            self._table: Ints = np.repeat(np.arange(len(self.share)), self.share)
            self._bits = counts.bits
            self.search = self._in_table
            return
        # Bytes of comparisons are summed eight at a time. The first symbol of a row is always reached.
        words = -(-self._width // 8)
        self._rows: NDArray[np.uint16] = np.full((contexts, 8 * words), 1 << counts.bits, np.uint16)
        self._rows[:, : self._width - 1] = counts.first[:, 1:]
        self._ones = np.ones(words, np.uint64)
        if self._width <= _REPEATED:
            self._repeated = _repeated(counts.bits, 8 * words)
            self.search = self._repeating
        else:
            self.search = self._comparing

    def _in_table(self, contexts: Ints, slots: Ints) -> Ints:
        contexts <<= self._bits
        contexts += slots
        found: Ints = self._table.take(contexts)
        return found

    def _repeating(self, contexts: Ints, slots: Ints) -> Ints:
        return self._counted(contexts, self._rows.take(contexts, axis=0) <= self._repeated.take(slots, axis=0))

    def _comparing(self, contexts: Ints, slots: Ints) -> Ints:
        return self._counted(contexts, self._rows.take(contexts, axis=0) <= slots.astype(np.uint16)[:, None])

    def _counted(self, contexts: Ints, reached: NDArray[np.bool_]) -> Ints:
        """Return the keys of the last symbols that are reached; contexts: changed in place."""
        contexts *= self._width
        words = reached.view(np.uint64) @ self._ones  # a byte sums at most 32 symbols
        words *= _EVERY_BYTE
        words >>= _HIGHEST_BYTE  # where the product has the sum of all bytes, at most 255
        contexts += words.view(np.int64)
        return contexts
