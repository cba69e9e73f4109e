"""Decode several payloads of the context codec in one loop: a step decodes a symbol of every lane of all payloads.

A step takes some twenty array operations, however few lanes there are, so several small payloads take hardly longer
than the longest of them. The streams of all payloads form one model; their contexts stay apart, and epochs begin at
the same steps in all payloads.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qacomp.formats.codecs import contextmodel as model
from qacomp.formats.codecs.base import Array
from qacomp.formats.codecs.contextcounts import Counts, Ints
from qacomp.formats.codecs.contextlanes import Parameters, Runs
from qacomp.formats.codecs.contextplaces import Places
from qacomp.formats.codecs.lanes import STATE_LOW
from qacomp.formats.codecs.symbolsearch import SymbolSearch
from qacomp.formats.codecs.trellispaths import NEXT
from qacomp.formats.errors import CodecError

_SIDES = 3
_FIELD = 12
"""Bits of a sum of recent distances: at most 16 * 255, since the weights of all taps sum to 16."""
_FIELDS = 5
_MOST_TAPS = max(len(taps) for taps in model.TAPS)


@dataclass(frozen=True)
class Payload:
    """A payload at level 0: the parameters, the lanes' first states (lanes,) and the words in the order of decoding."""

    chosen: Parameters
    runs: Runs
    states: NDArray[np.uint32]
    words: NDArray[np.uint16]


def decode_together(payloads: Sequence[Payload]) -> list[tuple[Array, Ints]]:
    """Return for each payload (symbols, packed): its coded symbols, flat, uint8, and the lanes' packed tails (lanes,).

    The symbols' tails are zero. All payloads have the same `bits`. Raises CodecError.
    """
    order = sorted(range(len(payloads)), key=lambda n: -payloads[n].runs.steps)
    decoder = _Decoder([payloads[n] for n in order])
    done: list[tuple[Array, Ints]] = [(np.zeros(0, np.uint8), np.zeros(0, np.int64))] * len(payloads)
    for number, found in zip(order, decoder.decode(), strict=True):
        done[number] = found
    return done


class _Lanes:
    """The lanes that still have coded symbols: first position, number of symbols, state, payload, and what came before.

    sums: for each of the next _FIELDS steps the weighted distances of the symbols before it, a field of _FIELD bits
    each, the next step lowest; key: context * width + symbol of the symbol before, -1 at the start; trail: the state on
    a trellis.
    """

    def __init__(self, payloads: Sequence[Payload], bases: Sequence[int]) -> None:
        self.first = np.concatenate([base + p.runs.first for p, base in zip(payloads, bases, strict=True)])
        self.length = np.concatenate([p.runs.length - p.runs.tail for p in payloads])
        self.state = np.concatenate([p.states.astype(np.int64) for p in payloads])
        self.payload = np.repeat(np.arange(len(payloads)), [p.runs.lanes for p in payloads])
        self.number = np.arange(len(self.first))
        self.sums = np.zeros(len(self.first), np.int64)
        self.key = np.full(len(self.first), -1)
        self.trail: Ints = np.concatenate([_starts(p) for p in payloads])

    def step_to(self, sums: Ints, key: Ints, trail: Ints) -> None:
        """Note what comes before the next step; the lanes' own states are updated in place."""
        self.sums, self.key, self.trail = sums, key, trail

    def keep(self, kept: NDArray[np.bool_]) -> None:
        """Drop all other lanes."""
        self.first, self.length, self.state = self.first[kept], self.length[kept], self.state[kept]
        self.payload, self.number = self.payload[kept], self.number[kept]
        self.sums, self.key, self.trail = self.sums[kept], self.key[kept], self.trail[kept]


def _starts(payload: Payload) -> Ints:
    paths = payload.chosen.paths
    return np.zeros(payload.runs.lanes, np.int64) if paths is None else paths.starts.astype(np.int64)


class _Decoder:
    """Decodes payloads that are sorted by their steps, the longest first."""

    def __init__(self, payloads: Sequence[Payload]) -> None:
        self._payloads, self._bits = payloads, payloads[0].chosen.bits
        streams = [stream for p in payloads for stream in p.chosen.streams]
        centres = [centre for p in payloads for centre in p.chosen.centres]
        settings = [setting for p in payloads for setting in p.chosen.settings]
        sizes = [sum(stream.count for stream in p.chosen.streams) for p in payloads]
        self._ends = np.cumsum(sizes)
        paths = [p.chosen.paths for p in payloads if p.chosen.paths is not None]  # of all payloads, or of none
        on = np.concatenate([p.on for p in paths]) if paths else None
        self._near = model.Neighbourhood(streams, Places(streams), centres, settings, 0, on)
        self._odd: Ints | None = np.concatenate([p.odd for p in paths]) if paths else None
        self._going: Ints | None = None  # 0 where a row of a trellis starts
        if paths:
            self._going = (~np.concatenate([p.fresh for p in paths])).astype(np.int64)
        self._rows = _SIDES * (2 if paths else 1)  # of contexts, for each stream
        self._counts = Counts(self._near.prior, self._near.valid, self._bits)
        self._lanes = _Lanes(payloads, (self._ends - sizes).tolist())
        self._flat: Array = np.zeros(int(self._ends[-1]), np.uint8)
        self._words = [p.words.astype(np.int64) for p in payloads]
        self._used = [0] * len(payloads)
        self._prepare([p.chosen.taps for p in payloads for _ in p.chosen.streams])

    def _prepare(self, taps: Sequence[int]) -> None:
        """Make the tables that stay the same in all epochs."""
        near = self._near
        distance = near.magnitude >> 2  # magnitudes are four times the distance from the centre, plus one
        symbols = np.broadcast_to(np.arange(near.width), (len(near.prior), near.width))
        self._symbol_of: Array = symbols.astype(np.uint8).reshape(-1)
        self._prior_of: Ints = (near.prior[:, None] * near.width + symbols).reshape(-1)
        if self._odd is not None:
            self._parity: Ints = ((symbols + self._odd[near.prior][:, None]) & 1).reshape(-1)
            self._next: Ints = NEXT.astype(np.int64)
        # A lane comes from one stream into the next, so the sums may be those of any stream.
        self._sums: Ints = 16 + 4 * np.arange(16 * int(distance.max()) + 1)
        weights = np.zeros((len(distance), _MOST_TAPS), np.int64)
        for stream, number in enumerate(taps):
            weights[stream, : len(model.TAPS[number])] = model.TAPS[number]
        packed = (weights[:, :_FIELDS] << _FIELD * np.arange(_FIELDS)).sum(axis=1)[:, None] * distance
        # By key; the last entry is that of key -1.
        self._pushed = _with_zero(packed[near.prior])
        self._sixth: Ints | None = None  # a sixth tap doesn't fit in the fields: it is added a step later
        if weights[:, _FIELDS:].any():
            self._sixth = _with_zero((weights[:, _FIELDS:] * distance << _FIELD * (_FIELDS - 1))[near.prior])

    def decode(self) -> list[tuple[Array, Ints]]:
        """Return the symbols and packed tails of each payload."""
        lanes, near, finished = self._lanes, self._near, self._lanes.state.copy()
        self._keep(finished, 0)
        for start, stop in model.epochs(self._payloads[0].runs.steps):
            near.refresh()
            positions = lanes.first + np.minimum(np.arange(start, stop)[:, None], lanes.length - 1)
            present = np.zeros(len(near.magnitude), bool)
            present[near.places.stream.take(positions).reshape(-1)] = True
            self._counts.refresh(present[near.prior])
            self._refresh(stop - start, positions.size)
            places, keys, step = [], [], start
            while step < stop:
                end = min(stop, int(lanes.length.min()))
                positions = lanes.first + np.arange(step, end)[:, None]
                keys.append(self._steps(positions))
                places.append(positions.reshape(-1))
                self._keep(finished, end)
                step = end
            self._add(np.concatenate(places), np.concatenate(keys))
        return self._results(finished)

    def _keep(self, finished: Ints, step: int) -> None:
        """Note the states of lanes whose last step was the one before, and drop these lanes."""
        kept = self._lanes.length > step
        if not kept.all():
            finished[self._lanes.number] = self._lanes.state
            self._lanes.keep(kept)

    def _refresh(self, steps: int, symbols: int) -> None:
        """Make the tables of an epoch of so many steps, about so many symbols."""
        near, counts = self._near, self._counts
        recent = near.recent(np.arange(len(near.magnitude))[:, None], self._sums)
        self._recent: Ints = recent.reshape(-1)
        self._reach = int(np.abs(recent).max())
        cells = np.arange(
            -2 * self._reach - 1 >> model.CELL_SHIFT, 1 + (2 * self._reach >> model.CELL_SHIFT) + model.CELLS
        )
        self._cells, self._offset = len(cells), -int(cells[0])
        self._side = _with_zero((near.side * self._cells << model.CELL_SHIFT)[near.prior])
        sides = np.arange(_SIDES)[:, None] & near.sided[:, None, None]
        contexts = near.cell.take(np.clip(cells, 0, model.CELLS - 1), axis=1)[:, None, :] + sides
        if self._going is not None:
            contexts = np.concatenate([contexts, contexts + near.second[:, None, None]], axis=1)
        self._symbols = SymbolSearch(counts, steps, symbols)
        self._contexts: Ints = contexts.reshape(-1)

    def _base(self, positions: Ints) -> tuple[Ints, Ints]:
        """Return (streams, base) of positions: base is the place in the table of contexts, but for the recent part."""
        streams = self._near.places.stream.take(positions)
        base = np.clip(
            self._near.base(positions), -self._reach - 1, model.CELLS * (1 << model.CELL_SHIFT) + self._reach
        )
        base += (streams * (self._rows * self._cells) + self._offset) << model.CELL_SHIFT
        return streams, base

    def _steps(self, positions: Ints) -> Ints:
        """Decode the symbols at positions (steps, lanes): their keys, of the same shape."""
        streams, bases = self._base(positions)
        rows, lanes, keys = streams * len(self._sums), self._lanes, []
        state, sums, key, trail = lanes.state, lanes.sums, lanes.key, lanes.trail
        going = None if self._going is None else self._going.take(positions)
        second = _SIDES * self._cells << model.CELL_SHIFT
        ends = np.searchsorted(lanes.payload, np.arange(len(self._payloads)), "right")
        recent, contexts, side, pushed, sixth = self._recent, self._contexts, self._side, self._pushed, self._sixth
        search, share, first = self._symbols.search, self._symbols.share, self._symbols.first
        bits, mask = self._bits, (1 << self._bits) - 1
        for step, (row, base) in enumerate(zip(rows, bases, strict=True)):
            place = sums & ((1 << _FIELD) - 1)
            sums >>= _FIELD
            place += row
            total = recent.take(place)
            total += base
            total += side.take(key)
            if going is not None:
                trail = trail * going[step]
                total += (trail & 1) * second
            total >>= model.CELL_SHIFT
            slot = state & mask
            if sixth is not None:
                sums += sixth.take(key)
            key = search(contexts.take(total), slot)
            keys.append(key)
            if going is not None:
                trail = self._next.take(2 * trail + self._parity.take(key))
            sums += pushed.take(key)
            state >>= bits
            state *= share.take(key)
            slot -= first.take(key)
            state += slot
            need = (state < STATE_LOW).nonzero()[0]
            if len(need):
                moved = state.take(need)
                moved <<= 16
                moved |= self._next_words(need.searchsorted(ends).tolist())
                state[need] = moved
        lanes.step_to(sums, key, trail)
        return np.concatenate(keys)

    def _next_words(self, ends: Sequence[int]) -> Ints:
        """Return the next words of all lanes that need one; ends: of each payload's lanes among them."""
        begin, used, parts = 0, self._used, []
        for number, end in enumerate(ends):
            if end > begin:
                place = used[number]
                used[number] = stop = place + end - begin
                parts.append(self._words[number][place:stop])
                begin = end
        words = np.concatenate(parts) if len(parts) > 1 else parts[0]
        if len(words) < begin:
            raise CodecError("the coded words end early; the file is damaged")
        return words

    def _add(self, positions: Ints, keys: Ints) -> None:
        """Keep the symbols of an epoch, and update the model with them."""
        symbols = self._symbol_of.take(keys)
        self._flat[positions] = symbols
        self._counts.add_keys(keys, self._prior_of.take(keys))
        self._near.update(positions, symbols)

    def _results(self, finished: Ints) -> list[tuple[Array, Ints]]:
        parts, low = np.split(self._flat, self._ends[:-1]), 0
        found = []
        for payload, part, words, used in zip(self._payloads, parts, self._words, self._used, strict=True):
            packed = finished[low : low + payload.runs.lanes] - STATE_LOW
            low += payload.runs.lanes
            if used != len(words):
                raise CodecError("the coded words don't end where the lanes end; the file is damaged")
            found.append((part, packed))
        return found


def _with_zero(table: Ints) -> Ints:
    """Return a table (contexts, width) by key, with a zero as its last entry."""
    return np.append(table.reshape(-1), 0)
