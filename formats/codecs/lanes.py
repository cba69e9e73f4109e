"""Encode and decode with rANS (Duda 2013, arXiv:1311.2540), many lanes at a time, in plain numpy.

rANS: range asymmetric numeral systems. A lane is a 32-bit state in [2**16, 2**32) that reads and writes 16-bit words.
All lanes make a step together, so a step is a dozen array operations over the lanes. One stream of words serves all
lanes: the words of a step are in the order of the lanes, and the steps in the order of decoding. The encoder starts
each lane (where the decoder ends) with 2**16 plus the lane's last symbols, packed, instead of 2**16. So a lane costs
about ten bits instead of twenty-four.

The frequencies come from outside: see frequencies.py for the tables and the codecs for the models.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qacomp.formats.bytestream import ByteReader
from qacomp.formats.codecs.fewlanes import FEW_TO_ENCODE, encode_few
from qacomp.formats.errors import CodecError

STATE_LOW = 1 << 16
MAX_BITS = 15
_SLOTS_A_SYMBOL, _FEW_SLOTS = 4, 1 << 15
"""Decoding uses a table of all slots if they are at most 4 for each symbol or at most 2**15."""
_LOOKED_UP = 1 << 14
"""Symbols whose frequencies are looked up at once, so few that the result stays in the cache."""
_FEW = 6
"""With up to this many lanes a step of array operations takes longer than its symbols one by one."""


def read_lanes(reader: ByteReader, lanes: int) -> tuple[NDArray[np.uint32], NDArray[np.uint16]]:
    """Read the lanes' states (lanes,) and the words, to the end of a payload. Raises CodecError."""
    states = np.frombuffer(reader.raw(4 * lanes), "<u4")
    if not lanes or int(states.min()) < STATE_LOW:
        raise CodecError("a lane's state is below its range; the file is damaged")
    if reader.rest() % 2:
        raise CodecError("the coded words have an odd length; the file is damaged")
    return states, np.frombuffer(reader.raw(reader.rest()), "<u2")


@dataclass(frozen=True)
class Tables:
    """The frequencies of the symbols in each context, and the tables that encoder and decoder derive from them.

    frequencies: (contexts, alphabet) uint32, each row with the sum 2**bits; zero for a symbol that never occurs.
    """

    bits: int
    frequencies: NDArray[np.uint32]

    def cumulative(self) -> NDArray[np.uint32]:
        """Return the first slot of each symbol, (contexts, alphabet)."""
        return (np.cumsum(self.frequencies, axis=1, dtype=np.uint32) - self.frequencies).astype(np.uint32)

    def symbols(self) -> NDArray[np.intp]:
        """Return the symbol of each slot, (contexts * 2**bits,)."""
        contexts, alphabet = self.frequencies.shape
        return np.repeat(np.tile(np.arange(alphabet), contexts), self.frequencies.ravel())

    def transitions(self) -> NDArray[np.uint32]:
        """Return for each slot (frequency << 16) | (slot - first slot of its symbol), (contexts * 2**bits,)."""
        flat = self.frequencies.ravel()
        first = np.repeat(np.cumsum(flat, dtype=np.int64) - flat, flat)
        offset = np.arange(len(first)) - first
        return (np.repeat(flat, flat) << np.uint32(16) | offset.astype(np.uint32)).astype(np.uint32)


def tail_length(alphabet: int, count: int, lanes: int) -> int:
    """Return how many symbols of a lane its first state holds: as many as fit in 16 bits, at most count // lanes."""
    length = 0
    while length < 16 and alphabet ** (length + 1) <= STATE_LOW:
        length += 1
    return min(length, count // lanes)


def encode(
    symbols: NDArray[np.integer],
    tables: Tables,
    lanes: int,
    contexts: NDArray[np.integer] | None = None,
) -> tuple[NDArray[np.uint32], NDArray[np.uint16]]:
    """Encode a flat sequence of symbols: symbol i belongs to lane i % lanes and step i // lanes.

    symbols: (n,) below the alphabet, each with a frequency above zero in its context; contexts: (n,) rows of the
    tables, or None for row 0. Returns the lanes' states (lanes,) and the words in the order of decoding.
    """
    alphabet = tables.frequencies.shape[1]
    tail = tail_length(alphabet, len(symbols), lanes)
    coded = len(symbols) - tail * lanes
    state = np.zeros(lanes, np.uint32)
    for row in symbols[coded:].reshape(tail, lanes)[::-1]:
        state = state * np.uint32(alphabet) + row.astype(np.uint32)
    state += np.uint32(STATE_LOW)

    frequency = tables.frequencies.ravel()
    first = tables.cumulative().ravel()
    if lanes <= FEW_TO_ENCODE:
        rows = symbols[:coded].astype(np.intp)
        if contexts is not None:
            rows += contexts[:coded].astype(np.intp) * alphabet
        return encode_few(state, frequency.take(rows), first.take(rows), tables.bits)
    # The step x -> (x // f << bits) + first + x % f is x + first + (x // f) * (2**bits - f); the quotient comes from a
    # product with 1/f, rounded up slightly: it is exact, since x < 2**32 and f < 2**16 fit in 53 bits.
    inverse = (1.0 / np.maximum(frequency, 1)) * (1 + 2.0**-50)
    growth = (first << np.uint32(16) | (np.uint32(1 << tables.bits) - frequency)).astype(np.uint32)
    limit = frequency.astype(np.uint32)
    shift = np.uint32(32 - tables.bits)

    words = np.empty(coded, np.uint16)
    end = len(words)
    quotient = np.empty(lanes, np.float64)
    a, full = np.empty(lanes, np.uint32), np.empty(lanes, bool)
    sixteen = np.uint32(16)
    block = max(1, _LOOKED_UP // lanes) * lanes
    for base in range((coded - 1) // block * block, -1, -block):
        part = slice(base, min(base + block, coded))
        places = symbols[part].astype(np.intp)
        if contexts is not None:
            places += contexts[part].astype(np.intp) * alphabet
        limits, inverses, grown = limit.take(places), inverse.take(places), growth.take(places)
        firsts = grown >> sixteen
        grown &= np.uint32(0xFFFF)
        for start in range((len(places) - 1) // lanes * lanes, -1, -lanes):
            here = slice(start, min(start + lanes, len(places)))
            n = here.stop - start
            x, q, u, mask = state[:n], quotient[:n], a[:n], full[:n]
            np.right_shift(x, shift, out=u)
            np.greater_equal(u, limits[here], out=mask)
            over = mask.nonzero()[0]
            if k := len(over):
                moved = x.take(over)
                end -= k
                words[end : end + k] = moved  # the low 16 bits
                moved >>= sixteen
                x[over] = moved
            np.multiply(inverses[here], x, out=q)
            np.copyto(u, q, casting="unsafe")
            x += firsts[here]
            u *= grown[here]
            x += u
    return state, words[end:]


class _Slots:
    """Finds the symbols of slots with a table of all slots."""

    def __init__(self, tables: Tables, values: NDArray[np.generic]) -> None:
        self._transition, self._values = tables.transitions(), values[tables.symbols()]

    def __call__(
        self, slots: NDArray[np.intp], out: NDArray[np.generic], offset: NDArray[np.uint32], share: NDArray[np.uint32]
    ) -> None:
        """Write for each slot, numbered over all contexts, its value, its offset in the symbol and its frequency."""
        self._values.take(slots, out=out, mode="clip")
        self._transition.take(slots, out=offset, mode="clip")
        np.right_shift(offset, np.uint32(16), out=share)
        np.bitwise_and(offset, np.uint32(0xFFFF), out=offset)

    def few(
        self,
        state: NDArray[np.uint32],
        words: NDArray[np.uint16],
        out: NDArray[np.generic],
        contexts: NDArray[np.integer] | None,
        bits: int,
    ) -> int:
        """Decode all symbols into `out`, one by one, update the lanes' states, and return the number of words used."""
        states, given, used, mask = state.tolist(), words.tolist(), 0, (1 << bits) - 1
        transition, lanes = self._transition.tolist(), len(state)
        rows = [0] * len(out) if contexts is None else (contexts[: len(out)].astype(np.int64) << bits).tolist()
        slots = np.empty(len(out), np.intp)
        for place, row in enumerate(rows):
            x = states[place % lanes]
            slot = row + (x & mask)
            slots[place] = slot
            moved = transition[slot]
            x = (moved >> 16) * (x >> bits) + (moved & 0xFFFF)
            if x < STATE_LOW:
                if used == len(given):
                    raise CodecError("the coded words end early; the file is damaged")
                x = x << 16 | given[used]
                used += 1
            states[place % lanes] = x
        state[:] = states
        self._values.take(slots, out=out, mode="clip")
        return used


class _BisectedSlots:
    """Finds the symbols of slots by bisection, if a table of all slots would be far longer than the data."""

    def __init__(self, tables: Tables, values: NDArray[np.generic]) -> None:
        contexts, self._alphabet = tables.frequencies.shape
        self._values, self._share = values, tables.frequencies.ravel()
        rows = np.arange(contexts, dtype=np.int64)[:, None] << tables.bits
        self._first = (tables.cumulative() + rows).ravel()

    def __call__(
        self, slots: NDArray[np.intp], out: NDArray[np.generic], offset: NDArray[np.uint32], share: NDArray[np.uint32]
    ) -> None:
        """Write values, offsets and frequencies as `_Slots` does."""
        found = self._first.searchsorted(slots, side="right") - 1
        self._values.take(found % self._alphabet, out=out, mode="clip")
        self._share.take(found, out=share, mode="clip")
        np.copyto(offset, slots - self._first.take(found), casting="unsafe")


def decode(
    states: NDArray[np.uint32],
    words: NDArray[np.uint16],
    count: int,
    tables: Tables,
    values: NDArray[np.generic],
    contexts: NDArray[np.integer] | None = None,
) -> NDArray[np.generic]:
    """Decode `count` symbols and return values[symbol] of each, (count,); values: (alphabet,).

    Raises CodecError unless all words are used and every lane ends in a state in which `encode` can start.
    """
    lanes = len(states)
    alphabet = tables.frequencies.shape[1]
    tail = tail_length(alphabet, count, lanes)
    coded = count - tail * lanes
    out: NDArray[np.generic] = np.empty(count, values.dtype)
    if int(states.min()) < STATE_LOW:
        raise CodecError("a lane's state is below its range; the file is damaged")
    state = states.astype(np.uint32)
    slots = len(tables.frequencies) << tables.bits
    look_up = (
        _BisectedSlots(tables, values) if slots > max(_SLOTS_A_SYMBOL * count, _FEW_SLOTS) else _Slots(tables, values)
    )
    mask, bits = np.uint32((1 << tables.bits) - 1), np.uint32(tables.bits)
    index, a, b = np.empty(lanes, np.intp), np.empty(lanes, np.uint32), np.empty(lanes, np.uint32)
    empty = np.empty(lanes, bool)
    low, sixteen = np.uint32(STATE_LOW), np.uint32(16)
    given, used = len(words), 0
    if lanes <= _FEW and isinstance(look_up, _Slots):
        used = look_up.few(state, words, out[:coded], contexts, tables.bits)
        coded_steps = range(0)
    else:
        coded_steps = range(0, coded, lanes)
    for start in coded_steps:
        stop = min(start + lanes, coded)
        n = stop - start
        i, x, u, v, under = index[:n], state[:n], a[:n], b[:n], empty[:n]
        np.bitwise_and(x, mask, out=u)
        np.copyto(i, u)
        if contexts is not None:
            i += contexts[start:stop].astype(np.intp) << tables.bits
        look_up(i, out[start:stop], u, v)
        x >>= bits
        x *= v
        x += u
        np.less(x, low, out=under)
        need = under.nonzero()[0]
        if k := len(need):
            if used + k > given:
                raise CodecError("the coded words end early; the file is damaged")
            moved = x.take(need)
            moved <<= sixteen
            moved |= words[used : used + k]
            x[need] = moved
            used += k
    state -= low
    if used != given or int(state.max()) >= alphabet**tail:
        raise CodecError("the coded words don't end where the lanes end; the file is damaged")
    for start in range(coded, count, lanes):
        out[start : start + lanes] = values.take(state % np.uint32(alphabet))
        state //= np.uint32(alphabet)
    return out


def pack_tails(tails: NDArray[np.integer], alphabet: int, lanes: int) -> NDArray[np.uint32]:
    """Return the first states (lanes,) that hold the tails (length, lanes); the first symbol is the lowest digit."""
    state = np.zeros(lanes, np.uint32)
    for row in tails[::-1]:
        state = state * np.uint32(alphabet) + row.astype(np.uint32)
    return state + np.uint32(STATE_LOW)


def unpack_tails(packed: NDArray[np.uint32], alphabet: int, length: int) -> NDArray[np.uint32]:
    """Return the tails (length, lanes) from the result of `StepDecoder.finish`."""
    rows = np.empty((length, len(packed)), np.uint32)
    for row in rows:
        np.remainder(packed, np.uint32(alphabet), out=row)
        packed = packed // np.uint32(alphabet)
    return rows
