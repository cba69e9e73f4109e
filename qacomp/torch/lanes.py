"""Decode rANS lanes with torch, on any device: all lanes of all payloads make a step together, in a dozen operations.

The counterpart in numpy, with the format's description, is formats/codecs/lanes.py; the symbols are the same. Nothing
waits for the device until all steps are done: lanes whose words run out read any word, and are refused at the end.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qacomp.formats import CodecError
from qacomp.formats.codecs.lanes import STATE_LOW, tail_length
from qacomp.formats.codecs.ranspayload import RansPayload

_BLOCK = 1 << 22
"""Entries of the table that are kept until their symbols are put in order: 32 MiB."""
_DAMAGED = "the coded words don't end where the lanes end; the file is damaged"


def decode_lanes(payloads: Sequence[RansPayload], device: torch.device) -> list[Tensor]:
    """Return the groups of symbols of each payload, which has one stream: (count,) int16. Raises CodecError."""
    if any(int(payload.states.min()) < STATE_LOW for payload in payloads):
        raise CodecError("a lane's state is below its range; the file is damaged")
    if not payloads:
        return []
    return _StepsOfLanes(payloads, device).decode()


class _StepsOfLanes:
    """The lanes of all payloads, one after the other. lengths: (lanes,) steps of each lane before its packed tail."""

    def __init__(self, payloads: Sequence[RansPayload], device: torch.device) -> None:
        self._payloads, self._device = payloads, device
        self._counts = [len(payload.states) for payload in payloads]
        self._tails = [tail_length(p.tables.frequencies.shape[1], p.sizes[0], len(p.states)) for p in payloads]
        self._coded = [
            p.sizes[0] - tail * lanes for p, tail, lanes in zip(payloads, self._tails, self._counts, strict=True)
        ]
        self._owner = np.repeat(np.arange(len(payloads)), self._counts)
        self._lengths = np.concatenate(
            [coded // n + (np.arange(n) < coded % n) for coded, n in zip(self._coded, self._counts, strict=True)]
        )
        self._state = self._moved(np.concatenate([p.states.astype(np.int64) for p in payloads]))
        bits = np.array([p.tables.bits for p in payloads])
        self._bits = self._moved(bits[self._owner])
        self._rows = self._moved((np.cumsum(1 << bits) - (1 << bits))[self._owner])
        self._table = self._moved(np.concatenate([_entries(p) for p in payloads]))
        given = np.array([len(p.words) for p in payloads])
        self._given, self._begins = given, self._moved(np.cumsum(given) - given)
        self._used = torch.zeros(len(payloads), dtype=torch.int64, device=device)
        words = np.concatenate([*(p.words for p in payloads), np.zeros(1, np.uint16)])  # so that there is one to read
        self._words = self._moved(words.astype(np.int32))
        self._out = [torch.empty(p.sizes[0], dtype=torch.int16, device=device) for p in payloads]

    def _moved(self, array: NDArray[np.integer]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self._device)

    def decode(self) -> list[Tensor]:
        """Decode all steps, then the tails that the lanes end with."""
        step = 0
        for end in np.unique(self._lengths).tolist():
            if end > step:
                self._span(step, end)
            step = end
        if self._used.tolist() != self._given.tolist():
            raise CodecError(_DAMAGED)
        for payload, out, state, coded, tail in zip(
            self._payloads, self._out, torch.split(self._state, self._counts), self._coded, self._tails, strict=True
        ):
            alphabet = payload.tables.frequencies.shape[1]
            packed = state - STATE_LOW
            if int(packed.max()) >= alphabet**tail:
                raise CodecError(_DAMAGED)
            for start in range(coded, len(out), len(packed)):
                out[start : start + len(packed)] = packed % alphabet
                packed = packed // alphabet
        return self._out

    def _span(self, step: int, end: int) -> None:
        """Decode steps in which the same lanes have symbols."""
        active = (self._lengths >= end).nonzero()[0]
        owner = self._owner[active]
        lanes = self._moved(active)
        state, bits, rows = self._state[lanes], self._bits[lanes], self._rows[lanes]
        mask, owners = (1 << bits) - 1, self._moved(owner)
        edges = np.searchsorted(owner, np.arange(len(self._payloads) + 1))
        first, last = self._moved(edges[:-1]), self._moved(edges[1:])
        counted = torch.zeros(len(active) + 1, dtype=torch.int64, device=self._device)
        most, height = len(self._words) - 1, max(1, _BLOCK // len(active))
        for low in range(step, end, height):
            high = min(low + height, end)
            block = torch.empty((high - low, len(active)), dtype=torch.int64, device=self._device)
            for row in block:
                torch.take(self._table, (state & mask).add_(rows), out=row)
                state = (state >> bits).mul_((row >> 16) & 0xFFFF).add_(row & 0xFFFF)
                need = state < STATE_LOW
                torch.cumsum(need, 0, out=counted[1:])
                before = counted[first]
                place = (self._begins + self._used - before - 1)[owners].add_(counted[1:]).clamp_(0, most)
                self._used += counted[last] - before
                state = torch.where(need, (state << 16) | self._words[place], state)
            self._put(low, block >> 32, edges)
        self._state[lanes] = state

    def _put(self, step: int, symbols: Tensor, edges: NDArray[np.intp]) -> None:
        """Put the symbols (steps, lanes) of a span into the payloads' results."""
        for number, (low, high) in enumerate(_pairs(edges)):
            if high > low:
                start = step * self._counts[number]
                found = symbols[:, low:high].reshape(-1)
                self._out[number][start : start + len(found)] = found


def _entries(payload: RansPayload) -> NDArray[np.int64]:
    """Return for each slot (symbol << 32) | (frequency << 16) | (slot - first slot of the symbol)."""
    tables = payload.tables
    found: NDArray[np.int64] = tables.symbols().astype(np.int64) << 32 | tables.transitions()
    return found


def _pairs(edges: NDArray[np.intp]) -> Iterator[tuple[int, int]]:
    return zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)
