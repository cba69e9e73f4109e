"""Range asymmetric numeral systems (Duda 2013, arXiv:1311.2540) with many lanes in lock step, in plain numpy.

A lane is a 32-bit state in [2**16, 2**32) that takes and gives 16-bit words. All lanes take one step at a time, so a
step is a dozen array operations over the lanes, whatever the symbols are. The words of a step stand in lane order, the
steps in the order of decoding: one stream of words serves all lanes. Each lane begins (for the decoder: ends) not in a
bare state but in 2**16 plus its last symbols, packed, so that a lane costs about ten bits instead of twenty-four.

The coder knows nothing of where frequencies come from: see frequencies.py for the tables and the codecs for the models.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qacomp.formats.errors import CodecError

STATE_LOW = 1 << 16
MAX_BITS = 15
_SLOTS_A_SYMBOL, _FEW_SLOTS = 4, 1 << 15
"""A table of all slots is made where they are not many more than the symbols, or few."""
_LOOKED_UP = 1 << 14
"""Symbols whose frequencies are looked up at once; what is looked up stays in the cache."""
_FEW = 6
"""Lanes up to which a step of arrays takes longer than its symbols do one by one."""


@dataclass(frozen=True)
class Tables:
    """Frequencies of `contexts` alphabets of one size, and what the two directions need of them.

    frequencies: (contexts, alphabet) uint32, each row with sum 2**bits; zero where a symbol never occurs.
    """

    bits: int
    frequencies: NDArray[np.uint32]

    def cumulative(self) -> NDArray[np.uint32]:
        """Return (contexts, alphabet): the first slot of each symbol."""
        return (np.cumsum(self.frequencies, axis=1, dtype=np.uint32) - self.frequencies).astype(np.uint32)

    def symbols(self) -> NDArray[np.intp]:
        """Return (contexts * 2**bits,): the symbol of each slot."""
        contexts, alphabet = self.frequencies.shape
        return np.repeat(np.tile(np.arange(alphabet), contexts), self.frequencies.ravel())

    def transitions(self) -> NDArray[np.uint32]:
        """Return (contexts * 2**bits,): frequency << 16 | slot - first slot of the symbol."""
        flat = self.frequencies.ravel()
        first = np.repeat(np.cumsum(flat, dtype=np.int64) - flat, flat)
        offset = np.arange(len(first)) - first
        return (np.repeat(flat, flat) << np.uint32(16) | offset.astype(np.uint32)).astype(np.uint32)


def tail_length(alphabet: int, count: int, lanes: int) -> int:
    """Return how many symbols of each lane its first state holds: as many as 16 bits take, at most what there is."""
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
    """Code a flat sequence of symbols: symbol i is lane i % lanes's, in step i // lanes.

    symbols: (n,) below the alphabet, each with a frequency above zero in its context; contexts: (n,) rows of the
    tables, or None for row 0. Gives the lanes' states (lanes,) and the words in decoding order.
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
    # The step x -> (x // f << bits) + first + x % f is x + first + (x // f) * (2**bits - f); the quotient comes from a
    # product with 1/f, rounded up by a hair: exact, for x < 2**32 and f < 2**16 leave room in 53 bits.
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
    """The symbol of a slot by a table of all slots."""

    def __init__(self, tables: Tables, values: NDArray[np.generic]) -> None:
        self._transition, self._values = tables.transitions(), values[tables.symbols()]

    def __call__(
        self, slots: NDArray[np.intp], out: NDArray[np.generic], offset: NDArray[np.uint32], share: NDArray[np.uint32]
    ) -> None:
        """Write values, places within the symbol and frequencies of slots, which are numbered over all contexts."""
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
        """Decode all symbols into out, one by one; the lanes' states are left in `state`. Gives the words used."""
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
    """The same by bisection, where a table of all slots would be far longer than what is decoded."""

    def __init__(self, tables: Tables, values: NDArray[np.generic]) -> None:
        contexts, self._alphabet = tables.frequencies.shape
        self._values, self._share = values, tables.frequencies.ravel()
        rows = np.arange(contexts, dtype=np.int64)[:, None] << tables.bits
        self._first = (tables.cumulative() + rows).ravel()

    def __call__(
        self, slots: NDArray[np.intp], out: NDArray[np.generic], offset: NDArray[np.uint32], share: NDArray[np.uint32]
    ) -> None:
        """Write what the slots stand for, as `_Slots` does."""
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
    """Decode `count` entries of `values` (alphabet,), which maps symbols to what is wanted of them.

    Raises CodecError unless the words are used up exactly and every lane ends in a state that `encode` begins with.
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
    """Return (lanes,) first states that hold the tails (length, lanes), the first symbol the lowest digit."""
    state = np.zeros(lanes, np.uint32)
    for row in tails[::-1]:
        state = state * np.uint32(alphabet) + row.astype(np.uint32)
    return state + np.uint32(STATE_LOW)


def unpack_tails(packed: NDArray[np.uint32], alphabet: int, length: int) -> NDArray[np.uint32]:
    """Return the tails (length, lanes) of what `StepDecoder.finish` gives."""
    rows = np.empty((length, len(packed)), np.uint32)
    for row in rows:
        np.remainder(packed, np.uint32(alphabet), out=row)
        packed = packed // np.uint32(alphabet)
    return rows
