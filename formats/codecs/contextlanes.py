"""The context codec's lock step: the model's contexts, worked out for all lanes of a step at once, both ways."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from qacomp.formats.codecs import contextmodel as model
from qacomp.formats.codecs.base import Array, Stream
from qacomp.formats.codecs.contextmodel import Ints
from qacomp.formats.codecs.lanes import StepDecoder, tail_length
from qacomp.formats.errors import CodecError
from qacomp.formats.limits import MAX_CONTEXT_CELLS


class Runs:
    """The positions of `lanes` runs of one sequence: (steps, lanes) of coded symbols, and each lane's tail."""

    def __init__(self, count: int, lanes: int, alphabet: int) -> None:
        full, longer = divmod(count, lanes)
        self.lanes, self.tail, self.longer = lanes, tail_length(alphabet, count, lanes), longer
        self.steps = full - self.tail + (longer > 0)
        lane = np.arange(lanes)
        self.first: Ints = lane * full + np.minimum(lane, longer)
        self.length: Ints = np.full(lanes, full)
        self.length[:longer] += 1

    def active(self, step: int) -> int:
        """Lanes that have a symbol in this step: all but in the last."""
        return self.longer if self.longer and step == self.steps - 1 else self.lanes

    def positions(self, start: int, stop: int) -> Ints:
        """(steps, lanes) positions of steps [start, stop); a lane without a symbol in the last has another's there."""
        positions = self.first + np.arange(start, stop)[:, None]
        if self._ends_short(stop):
            positions[-1, self.longer :] = positions[-1, 0]
        return positions

    def coded(self, stop: int, block: Ints) -> Ints:
        """Of a block (steps, lanes) that ends at a step, what belongs to coded symbols, flat."""
        flat = block.ravel()
        return flat[: len(flat) - self.lanes + self.longer] if self._ends_short(stop) else flat

    def _ends_short(self, stop: int) -> bool:
        return stop == self.steps and self.longer > 0

    def tails(self) -> Ints:
        """(tail, lanes) positions of the symbols that the lanes' first states hold."""
        return self.first + self.length - self.tail + np.arange(self.tail)[:, None]


def _model(
    used: Sequence[Stream], centres: Sequence[int], settings: Sequence[model.Setting], taps: int, bits: int
) -> tuple[model.Neighbourhood | None, Ints | None, model.Counts, model.Places]:
    """The parts of the model: for refinements fixed contexts, else the neighbourhood they are derived from."""
    places = model.Places(used)
    if used[0].parents is not None:
        contexts, prior, valid = model.refinement_contexts(used, places, settings)
        near = None
    else:
        near = model.Neighbourhood(used, places, centres, settings, taps)
        contexts, prior, valid = None, near.prior, near.valid
    if len(prior) * valid.shape[1] > MAX_CONTEXT_CELLS:
        raise CodecError("more contexts than the format allows; the file is damaged")
    return near, contexts, model.Counts(prior, valid, bits), places


def forward(
    flat: Array,
    used: Sequence[Stream],
    centres: Sequence[int],
    settings: Sequence[model.Setting],
    taps: int,
    bits: int,
    runs: Runs,
) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """(steps, lanes) frequencies and first slots of all coded symbols, as the decoder will have them."""
    near, fixed, counts, places = _model(used, centres, settings, taps, bits)
    frequency = np.ones((runs.steps, runs.lanes), np.uint32)
    first = np.zeros((runs.steps, runs.lanes), np.uint32)
    width = counts.valid.shape[1]
    history: list[Ints] = []
    side = np.zeros(runs.lanes, np.int64)
    if near is not None:
        history = [np.ones(runs.lanes, np.int64) for _ in near.taps]
    for start, stop in model.epochs(runs.steps):
        positions = runs.positions(start, stop)
        symbols = flat.take(positions)
        if near is None:
            assert fixed is not None
            contexts = fixed.take(positions)
        else:
            near.refresh()
            streams = places.stream.take(positions)
            keys = streams * near.width + symbols
            magnitude = near.magnitude.ravel().take(keys)
            before = np.concatenate([np.stack(history[::-1]), magnitude])  # oldest first
            sums = np.zeros(positions.shape, np.int64)
            for back, weight in enumerate(near.taps, 1):
                offset = len(history) - back
                sums += weight * before[offset : offset + stop - start]
            recent = near.recent_part.ravel().take(streams * near.recent_part.shape[1] + sums)
            total = near.base(positions) + recent
            cell = np.clip(total >> model.CELL_SHIFT, 0, model.CELLS - 1)
            sides = near.side.ravel().take(keys)
            contexts = near.cell.ravel().take(streams * model.CELLS + cell)
            contexts += np.concatenate([side[None], sides[:-1]]) & near.sided.take(streams)
            history = [before[len(before) - back] for back in range(1, len(history) + 1)]
            side = sides[-1]
        tables = counts.tables()
        firsts = (np.cumsum(tables, axis=1, dtype=np.uint32) - tables).ravel()
        keys = contexts * width + symbols
        frequency[start:stop] = tables.ravel().take(keys)
        first[start:stop] = firsts.take(keys)
        flat_symbols, flat_positions = runs.coded(stop, symbols), runs.coded(stop, positions)
        counts.add(runs.coded(stop, contexts), flat_symbols)
        if near is not None:
            near.update(flat_positions, flat_symbols)
    return frequency, first


def backward(
    decoder: StepDecoder,
    used: Sequence[Stream],
    centres: Sequence[int],
    settings: Sequence[model.Setting],
    taps: int,
    bits: int,
    runs: Runs,
) -> Array:
    """Decode all coded symbols to their positions; the tails are left at zero."""
    near, fixed, counts, places = _model(used, centres, settings, taps, bits)
    count = sum(s.count for s in used)
    flat = np.zeros(count, np.uint8)
    history: list[Ints] = []
    side = np.zeros(runs.lanes, np.int64)
    if near is not None:
        history = [np.ones(runs.lanes, np.int64) for _ in near.taps]
        magnitudes, sides, cells = near.magnitude.ravel(), near.side.ravel(), near.cell.ravel()
    top = model.CELLS - 1
    for start, stop in model.epochs(runs.steps):
        positions = runs.positions(start, stop)
        decoder.use(counts.tables(), (stop - start) * runs.lanes)
        block = np.zeros(positions.shape, np.uint8)
        contexts = np.zeros(positions.shape, np.int64)
        if near is None:
            assert fixed is not None
            contexts = fixed.take(positions)
            for step in range(stop - start):
                n = runs.active(start + step)
                block[step, :n] = decoder.step(contexts[step, :n])
        else:
            near.refresh()
            streams = places.stream.take(positions).astype(np.int64)
            bases, recent = near.base(positions), near.recent_part.ravel()
            recent_rows = streams * near.recent_part.shape[1]
            sided = near.sided.take(streams)
            cell_rows, symbol_rows = streams * model.CELLS, streams * near.width
            for step in range(stop - start):
                n = runs.active(start + step)
                sums = history[0] * near.taps[0]
                for weight, past in zip(near.taps[1:], history[1:], strict=True):
                    sums += weight * past
                sums += recent_rows[step]
                total = recent.take(sums)
                total += bases[step]
                total >>= model.CELL_SHIFT
                np.maximum(total, 0, out=total)
                np.minimum(total, top, out=total)
                total += cell_rows[step]
                context = contexts[step]
                cells.take(total, out=context, mode="clip")
                context += side & sided[step]
                symbols = decoder.step(context[:n])
                block[step, :n] = symbols
                if n == runs.lanes:
                    keys = symbol_rows[step] + symbols
                    history.insert(0, magnitudes.take(keys))
                    history.pop()
                    side = sides.take(keys)
        flat_symbols, flat_positions = runs.coded(stop, block), runs.coded(stop, positions)
        flat[flat_positions] = flat_symbols
        counts.add(runs.coded(stop, contexts), flat_symbols)
        if near is not None:
            near.update(flat_positions, flat_symbols)
    return flat
