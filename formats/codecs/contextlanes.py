"""Compute the contexts of the context codec for all lanes of a step at once, for encoding and decoding."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qacomp.formats.codecs import contextfew
from qacomp.formats.codecs import contextmodel as model
from qacomp.formats.codecs.base import Array, Stream
from qacomp.formats.codecs.contextcounts import Counts, Ints
from qacomp.formats.codecs.contextplaces import Places
from qacomp.formats.codecs.lanes import tail_length
from qacomp.formats.codecs.lanesteps import StepDecoder
from qacomp.formats.codecs.trellispaths import Paths


class Runs:
    """A sequence of `count` symbols in `lanes` runs: the positions (steps, lanes) of coded symbols, and the tails."""

    def __init__(self, count: int, lanes: int, alphabet: int) -> None:
        full, longer = divmod(count, lanes)
        self.lanes, self.tail, self.longer = lanes, tail_length(alphabet, count, lanes), longer
        self.steps = full - self.tail + (longer > 0)
        lane = np.arange(lanes)
        self.first: Ints = lane * full + np.minimum(lane, longer)
        self.length: Ints = np.full(lanes, full)
        self.length[:longer] += 1

    def active(self, step: int) -> int:
        """Return how many lanes have a symbol in this step: all of them, except perhaps in the last step."""
        return self.longer if self.longer and step == self.steps - 1 else self.lanes

    def positions(self, start: int, stop: int) -> Ints:
        """Return the positions (steps, lanes) of steps [start, stop); idle lanes repeat the step's first position."""
        positions = self.first + np.arange(start, stop)[:, None]
        if self._ends_short(stop):
            positions[-1, self.longer :] = positions[-1, 0]
        return positions

    def coded(self, stop: int, block: Ints) -> Ints:
        """Return the entries of a block (steps, lanes) that ends at step `stop`, flat, without those of idle lanes."""
        flat = block.ravel()
        return flat[: len(flat) - self.lanes + self.longer] if self._ends_short(stop) else flat

    def _ends_short(self, stop: int) -> bool:
        return stop == self.steps and self.longer > 0

    def tails(self) -> Ints:
        """Return the positions (tail, lanes) of the symbols that the lanes' first states hold."""
        return self.first + self.length - self.tail + np.arange(self.tail)[:, None]


@dataclass(frozen=True)
class Parameters:
    """The parameters of a payload, which encoder and decoder know before the first symbol.

    streams: those that have symbols; centres, settings: one for each of these streams; taps: the number of the taps,
    the same for all streams; bits: log2 of the slots of a table; paths: of the codec trellis.
    """

    streams: Sequence[Stream]
    centres: Sequence[int]
    settings: Sequence[model.Setting]
    taps: int
    bits: int
    paths: Paths | None = None

    @property
    def on_paths(self) -> NDArray[np.bool_] | None:
        """Return which streams follow a trellis, (streams,); None if none does."""
        return None if self.paths is None else self.paths.on


def _model(chosen: Parameters) -> tuple[model.Neighbourhood | None, Ints | None, Counts, Places]:
    """Return (neighbourhood, contexts, counts, places) of the model.

    Refinements have fixed contexts and no neighbourhood; at level 0 contexts is None, and the neighbourhood gives them.
    """
    used = chosen.streams
    places = Places(used)
    if used[0].parents is not None:
        contexts, prior, valid = model.refinement_contexts(used, places, chosen.settings)
        near = None
    else:
        near = model.Neighbourhood(used, places, chosen.centres, chosen.settings, chosen.taps, chosen.on_paths)
        contexts, prior, valid = None, near.prior, near.valid
    return near, contexts, Counts(prior, valid, chosen.bits), places


def forward(flat: Array, chosen: Parameters, runs: Runs) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Return the frequencies and first slots (steps, lanes) of all coded symbols, as the decoder will compute them."""
    used = chosen.streams
    near, fixed, counts, places = _model(chosen)
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
            if positions.size < len(used) * near.sums:
                recent = near.recent(streams, sums)
            else:
                recent = near.recent_table().ravel().take(streams * near.sums + sums)
            total = near.base(positions) + recent
            cell = np.clip(total >> model.CELL_SHIFT, 0, model.CELLS - 1)
            sides = near.side.ravel().take(keys)
            contexts = near.cell.ravel().take(streams * model.CELLS + cell)
            contexts += np.concatenate([side[None], sides[:-1]]) & near.sided.take(streams)
            if chosen.paths is not None:
                contexts += (chosen.paths.states.take(positions) & 1) * near.second.take(streams)
            history = [before[len(before) - back] for back in range(1, len(history) + 1)]
            side = sides[-1]
        counts.refresh(counts.marked(contexts))
        keys = contexts * width + symbols
        frequency[start:stop] = counts.frequencies.ravel().take(keys)
        first[start:stop] = counts.first.ravel().take(keys)
        flat_symbols, flat_positions = runs.coded(stop, symbols), runs.coded(stop, positions)
        counts.add(runs.coded(stop, contexts), flat_symbols)
        if near is not None:
            near.update(flat_positions, flat_symbols)
    return frequency, first


def backward(decoder: StepDecoder, chosen: Parameters, runs: Runs) -> Array:
    """Decode a payload of refinements or of few lanes to a flat array; the positions of the tails are left at zero.

    contextjoint.py decodes all others.
    """
    used = chosen.streams
    near, fixed, counts, places = _model(chosen)
    flat = np.zeros(sum(s.count for s in used), np.uint8)
    few = runs.lanes <= contextfew.FEW
    lanes = None if near is None else contextfew.Lanes(near, runs.lanes, chosen.paths)
    for start, stop in model.epochs(runs.steps):
        positions = runs.positions(start, stop)
        active = [runs.active(step) for step in range(start, stop)]
        if near is None or lanes is None:
            assert fixed is not None
            contexts = fixed.take(positions)
            counts.refresh(counts.marked(contexts))
            decoder.use(counts.frequencies, counts.first, 0 if few else positions.size)
            block = contextfew.fixed(decoder, contexts, active) if few else _fixed(decoder, contexts, active)
        else:
            near.refresh()
            streams = places.stream.take(positions).astype(np.int64)
            present = np.zeros(len(used), bool)
            present[streams.reshape(-1)] = True
            counts.refresh(present[near.prior])
            decoder.use(counts.frequencies, counts.first, 0)
            fresh = None if chosen.paths is None else chosen.paths.fresh.take(positions)
            block, contexts = lanes.epoch(decoder, streams, near.base(positions), active, fresh)
        flat_symbols, flat_positions = runs.coded(stop, block), runs.coded(stop, positions)
        flat[flat_positions] = flat_symbols
        counts.add(runs.coded(stop, contexts), flat_symbols)
        if near is not None:
            near.update(flat_positions, flat_symbols)
    return flat


def _fixed(decoder: StepDecoder, contexts: Ints, active: Sequence[int]) -> Array:
    """Decode the symbols (steps, lanes) of an epoch with known contexts."""
    block: Array = np.zeros(contexts.shape, np.uint8)
    for step, n in enumerate(active):
        block[step, :n] = decoder.step(contexts[step, :n])
    return block
