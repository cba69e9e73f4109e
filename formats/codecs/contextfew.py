"""Decode the context codec's steps symbol by symbol, which is faster for few lanes than arrays of that length."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from qacomp.formats.codecs import contextmodel as model
from qacomp.formats.codecs.base import Array
from qacomp.formats.codecs.contextcounts import Ints
from qacomp.formats.codecs.lanesteps import StepDecoder
from qacomp.formats.codecs.trellispaths import NEXT, Paths

FEW = 6
"""With up to this many lanes a step of array operations takes longer than its symbols one by one."""


def fixed(decoder: StepDecoder, contexts: Ints, active: Sequence[int]) -> Array:
    """Decode an epoch's symbols (steps, lanes) with known contexts; active: lanes with a symbol in each step."""
    block: Array = np.zeros(contexts.shape, np.uint8)
    for step, (n, row) in enumerate(zip(active, contexts.tolist(), strict=True)):
        block[step, :n] = [decoder.one(lane, row[lane]) for lane in range(n)]
    return block


class Lanes:
    """The state of the lanes from which contexts follow: magnitudes and sides of the last symbols, as integers.

    paths: of the codec trellis; then a state of the trellis belongs to it too.
    """

    def __init__(self, near: model.Neighbourhood, lanes: int, paths: Paths | None = None) -> None:
        self._near = near
        self._magnitude, self._side = near.magnitude.tolist(), near.side.tolist()
        self._cell, self._sided = near.cell.tolist(), near.sided.tolist()
        self._log_table = model.log_table().tolist()
        self._history = [[1] * len(near.taps) for _ in range(lanes)]
        self._last_side: list[int] = [0] * lanes
        self._second: list[int] = near.second.tolist()
        self._next: list[int] = NEXT.tolist()
        self._odd: list[int] = [0] * len(self._second) if paths is None else paths.odd.tolist()
        self._states: list[int] = [0] * lanes if paths is None else paths.starts.tolist()

    def epoch(
        self,
        decoder: StepDecoder,
        streams: Ints,
        bases: Ints,
        active: Sequence[int],
        fresh: NDArray[np.bool_] | None = None,
    ) -> tuple[Array, Ints]:
        """Decode an epoch: (symbols, contexts), each (steps, lanes); active: lanes with a symbol in each step.

        fresh: (steps, lanes) where a row of a trellis starts.
        """
        starts = np.ones(bases.shape, bool).tolist() if fresh is None else fresh.tolist()
        symbols, contexts = np.zeros(bases.shape, np.uint8), np.zeros(bases.shape, np.int64)
        means, subtracted, weights = self._near.recent_terms()
        for step, (n, row, base) in enumerate(zip(active, streams.tolist(), bases.tolist(), strict=True)):
            for lane in range(n):
                stream, past = row[lane], self._history[lane]
                sums = sum(weight * magnitude for weight, magnitude in zip(self._near.taps, past, strict=True))
                total = base[lane]
                if weights[stream]:
                    value = 8 * sums + means[stream]
                    exponent = value.bit_length() - 1
                    below = (value >> exponent - 8 if exponent >= 8 else value << 8 - exponent) & 255
                    log = model.OCTAVE * exponent + self._log_table[below]
                    total += weights[stream] * (log - subtracted[stream])
                cell = min(max(total >> model.CELL_SHIFT, 0), model.CELLS - 1)
                context = self._cell[stream][cell] + (self._last_side[lane] & self._sided[stream])
                state = 0 if starts[step][lane] else self._states[lane]
                context += self._second[stream] * (state & 1)
                symbol = decoder.one(lane, context)
                symbols[step, lane], contexts[step, lane] = symbol, context
                past.insert(0, self._magnitude[stream][symbol])
                past.pop()
                self._last_side[lane] = self._side[stream][symbol]
                self._states[lane] = self._next[2 * state + (symbol + self._odd[stream] & 1)]
        return symbols, contexts
