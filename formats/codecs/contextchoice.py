"""Choose the lanes, taps and settings of the context codec: try all of them, on a sample of long streams.

The bits that a setting takes are estimated from the counts of its contexts, for all settings at once. The estimate uses
real numbers, while the codec itself rounds them to frequencies.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qacomp.formats.codecs import contextmodel as model
from qacomp.formats.codecs.base import Array, Stream, sample, split
from qacomp.formats.codecs.contextcounts import COUNT_WEIGHT, PRIOR_BITS, Ints, add_each
from qacomp.formats.codecs.contextlanes import Runs
from qacomp.formats.codecs.contextplaces import Places
from qacomp.formats.codecs.rans import choose_lanes
from qacomp.formats.codecs.trellispaths import Paths

_SAMPLE = 1 << 17  # symbols of a sample
_MOST_STEPS = 1 << 14
_TRIAL = (model.SETTINGS[3], model.SETTINGS[4])  # the settings with which the taps are chosen
_TAPS_STREAMS = 32  # the taps are chosen on at most this many streams
_FEW_STREAMS, _TINY_STREAM, _SMALL_STREAM, _USUAL_TAPS, _CLEAR = 8, 128, 1024, 1, 0.995
"""`is_hopeless` tries this many streams, if streams have between TINY and SMALL symbols on average, with these taps.
A trial of few streams has shorter epochs than all streams together and looks a little better; CLEAR corrects that."""
_SAMPLED = 1.002
"""Of weights without any structure the estimate of a sample is 0.02 to 0.12 % below their entropy, and the codec takes
0.03 to 0.1 % more than a static code; where it saves bytes, the estimate is at least 0.2 % below."""
_SIDES = 3
_PRIOR = 1 << PRIOR_BITS


def choose(
    flat: Array, used: Sequence[Stream], centres: Sequence[int], bits: int, paths: Paths | None = None
) -> tuple[int, int, list[model.Setting], float]:
    """Return (lanes, taps, a setting for each stream, bits) of the smallest result; long streams are sampled.

    bits: about as many as all symbols then take. Of a sample they are scaled by the order-0 entropies, and enlarged a
    little, since such estimates are too small. paths: of the codec trellis.
    """
    counts = len(flat)
    entropy = sum(_entropies(flat, used))
    lanes = choose_lanes(counts, entropy, _MOST_STEPS)
    trial_streams, trial_flat, scale = list(used), flat, 1.0
    quantizers = None if paths is None else _Quantizers(paths.on, paths.states & 1)
    if counts > _SAMPLE * 3 // 2:
        trial_parts, trial_streams = sample(split(flat, used), used, _SAMPLE)
        trial_flat = np.concatenate(trial_parts)
        if quantizers is not None:
            cut = np.concatenate(sample(split(quantizers.each, used), used, _SAMPLE)[0])
            quantizers = _Quantizers(quantizers.on, cut)
        scale = _SAMPLED * entropy / max(1.0, sum(_entropies(trial_flat, trial_streams)))
    trial_lanes = max(1, min(lanes, len(trial_flat) >> 10))
    runs = Runs(len(trial_flat), trial_lanes, max(s.alphabet for s in used))
    trial = _Trial(trial_flat, trial_streams, runs, bits, quantizers)
    if used[0].parents is not None:
        best = trial.refinements(model.SETTINGS)
        whole = float(best.min(axis=0).sum()) if trial_flat is flat else 0.0
        return lanes, 0, [model.SETTINGS[i] for i in best.argmin(axis=0)], whole
    taps = _best_taps(trial_flat, trial_streams, centres, trial, trial_lanes)
    best = trial.costs([(taps, setting) for setting in model.SETTINGS], centres)
    return lanes, taps, [model.SETTINGS[i] for i in best.argmin(axis=0)], scale * float(best.min(axis=0).sum())


def is_hopeless(flat: Array, used: Sequence[Stream], centres: Sequence[int], bits: int, most: float) -> bool:
    """Return whether all streams would take more than `most` bits under any setting, judged by a few of many streams.

    A stream of a few hundred symbols often ends before its contexts are learnt. A full trial of many such streams would
    take far longer than encoding them with a static code.
    """
    step = len(used) // _FEW_STREAMS
    small = _TINY_STREAM <= len(flat) // len(used) <= _SMALL_STREAM
    if step < 2 or not small or used[0].parents is not None:
        return False
    entropies = _entropies(flat, used)
    some = list(used[::step])
    part = np.concatenate(split(flat, used)[::step])
    lanes = max(1, min(choose_lanes(len(flat), sum(entropies), _MOST_STEPS), len(part) >> 8))
    trial = _Trial(part, some, Runs(len(part), lanes, max(s.alphabet for s in some)), bits)
    costs = trial.costs([(_USUAL_TAPS, setting) for setting in model.SETTINGS], centres[::step])
    return bool(costs.min(axis=0).sum() > most * _CLEAR * sum(entropies[::step]) / max(sum(entropies), 1.0))


def _entropies(flat: Array, streams: Sequence[Stream]) -> list[float]:
    """Return the order-0 entropy of each stream in bits, over all of its symbols together."""
    found = []
    for part in split(flat, streams):
        seen = np.bincount(part)
        share = seen[seen > 0] / len(part)
        found.append(-len(part) * float((share * np.log2(share)).sum()))
    return found


def _best_taps(flat: Array, streams: Sequence[Stream], centres: Sequence[int], trial: "_Trial", lanes: int) -> int:
    """Return the number of the taps (for all streams) that take the fewest bits; of many streams some are tried."""
    step = -(-len(streams) // _TAPS_STREAMS)
    if step > 1:
        some = list(streams[::step])
        part = np.concatenate(split(flat, streams)[::step])
        centres = centres[::step]
        runs = Runs(len(part), max(1, lanes // step), max(s.alphabet for s in some))
        quantizers = trial.quantizers
        if quantizers is not None:
            each = np.concatenate(split(quantizers.each, streams)[::step])
            quantizers = _Quantizers(quantizers.on[::step], each)
        trial = _Trial(part, some, runs, trial.bits, quantizers)
    pairs = [(taps, setting) for taps in range(len(model.TAPS)) for setting in _TRIAL]
    costs = trial.costs(pairs, centres).reshape(len(model.TAPS), len(_TRIAL), -1)
    return int(costs.min(axis=1).sum(axis=1).argmin())


@dataclass(frozen=True)
class _Quantizers:
    """The quantizers of streams on a trellis. on: (streams,) which are; each: (n,) 0 or 1, of each symbol."""

    on: NDArray[np.bool_]
    each: Array


@dataclass(frozen=True)
class _Counted:
    """The counts of symbols in each context and in each prior, from which the bits of the next symbols follow."""

    seen: Ints  # (tried, contexts * width)
    contexts: Ints  # (tried, contexts)
    priors: Ints  # (priors * width,)
    valid: Ints  # (priors,): symbols that may occur
    least: float  # smallest probability of a symbol: one slot

    def bits(self, contexts: Ints, priors: Ints, symbols: Ints, width: int) -> NDArray[np.float64]:
        """Return log2 of the probability of each symbol (tried, n), then count the symbols.

        contexts: (tried, n); priors, symbols: (n,). The result is minus the bits that the symbols take.
        """
        tried = np.arange(len(contexts))[:, None]
        total = self.priors.reshape(-1, width).sum(axis=1)
        prior = (2 * self.priors.take(priors * width + symbols) + 1) / (2 * total + self.valid).take(priors)
        keys = contexts * width
        keys += symbols
        keys += tried * self.seen.shape[1]
        places = contexts + tried * self.contexts.shape[1]
        share = COUNT_WEIGHT * self.seen.reshape(-1).take(keys) + _PRIOR * prior
        share /= COUNT_WEIGHT * self.contexts.reshape(-1).take(places) + _PRIOR
        add_each(self.seen.reshape(-1), keys.reshape(-1))
        add_each(self.contexts.reshape(-1), places.reshape(-1))
        add_each(self.priors, priors * width + symbols)
        np.maximum(share, self.least, out=share)
        found: NDArray[np.float64] = np.log2(share, out=share)
        return found


class _Trial:
    """A sequence of symbols in lanes, of which the bits under several settings are estimated."""

    def __init__(
        self,
        flat: Array,
        streams: Sequence[Stream],
        runs: Runs,
        bits: int,
        quantizers: _Quantizers | None = None,
    ) -> None:
        self._streams, self._runs, self.bits, self.quantizers = streams, runs, bits, quantizers
        self._width = max(stream.alphabet for stream in streams)
        self._places = Places(streams)
        self._positions = runs.positions(0, runs.steps)  # (steps, lanes)
        self._symbols = flat.take(self._positions).astype(np.int64)
        self._stream = self._places.stream.take(self._positions).astype(np.int64)

    def refinements(self, settings: Sequence[model.Setting]) -> NDArray[np.float64]:
        """Return the bits (settings, streams) of streams that are refinements."""
        found = [model.refinement_contexts(self._streams, self._places, [s] * len(self._streams)) for s in settings]
        rows = found[0][1].take(found[0][0])  # the prior of a position is the same under every setting
        most = max(len(prior) for _, prior, _ in found)
        counted = self._counted(len(settings), most, found[0][2].sum(axis=1))
        totals = np.zeros((len(settings), len(self._streams)))
        for start, stop in model.epochs(self._runs.steps):
            positions = self._coded(self._positions, start, stop)
            contexts = np.stack([contexts.take(positions) for contexts, _, _ in found])
            symbols = self._coded(self._symbols, start, stop)
            bits = counted.bits(contexts, rows.take(positions), symbols, self._width)
            self._add(totals, bits, self._coded(self._stream, start, stop))
        return totals

    def costs(self, pairs: Sequence[tuple[int, model.Setting]], centres: Sequence[int]) -> NDArray[np.float64]:
        """Return the bits (pairs, streams) of streams of level 0, for each pair of taps and setting."""
        first = model.SETTINGS[1]  # a setting with sides; the neighbourhood's own contexts aren't used
        near = model.Neighbourhood(self._streams, self._places, centres, [first] * len(self._streams), 0)
        keys = self._stream * near.width + self._symbols
        magnitude, sides = near.magnitude.ravel().take(keys), near.side.ravel().take(keys)
        side = np.concatenate([np.zeros((1, self._runs.lanes), np.int64), sides[:-1]])
        second, rows = self._second(), _SIDES * (1 if self.quantizers is None else 2)
        sums = {taps: _weighted(magnitude, model.TAPS[taps]) for taps in {taps for taps, _ in pairs}}
        counted = self._counted(
            len(pairs), len(self._streams) * model.CELLS * rows, np.array([s.alphabet for s in self._streams])
        )
        weights = np.array([(s.filter, s.channel, s.recent, s.coarse, s.sides) for _, s in pairs], np.int64)
        totals = np.zeros((len(pairs), len(self._streams)))
        for start, stop in model.epochs(self._runs.steps):
            near.refresh()
            streams, symbols = (self._coded(block, start, stop) for block in (self._stream, self._symbols))
            positions, here = (self._coded(block, start, stop) for block in (self._positions, side))
            filters, channels = near.logarithms(positions)
            recent = {taps: near.recent_log(streams, self._coded(block, start, stop)) for taps, block in sums.items()}
            contexts = weights[:, :1] * filters
            contexts += weights[:, 1:2] * channels
            contexts += weights[:, 2:3] * np.stack([recent[taps] for taps, _ in pairs])
            contexts += model.HALF_RANGE
            contexts >>= model.CELL_SHIFT
            np.maximum(contexts, 0, out=contexts)
            np.minimum(contexts, model.CELLS - 1, out=contexts)
            contexts >>= weights[:, 3:4]
            contexts *= rows
            contexts += weights[:, 4:] * here
            if second is not None:
                contexts += self._coded(second, start, stop)
            contexts += streams * (model.CELLS * rows)
            self._add(totals, counted.bits(contexts, streams, symbols, self._width), streams)
            near.update(positions, symbols)
        return totals

    def _second(self) -> Ints | None:
        """Return what the second quantizer adds to a context, (steps, lanes); None without a trellis."""
        if self.quantizers is None:
            return None
        chosen: Ints = self.quantizers.each.take(self._positions).astype(np.int64)
        return _SIDES * chosen * self.quantizers.on.take(self._stream)

    def _counted(self, tried: int, contexts: int, valid: Ints) -> _Counted:
        seen, total = np.zeros((tried, contexts * self._width), np.int32), np.zeros((tried, contexts), np.int32)
        return _Counted(seen, total, np.zeros(len(valid) * self._width, np.int64), valid, 1 / (1 << self.bits))

    def _coded(self, block: Ints, start: int, stop: int) -> Ints:
        """Return the entries of coded symbols of the steps [start, stop) in a block (steps, lanes), flat."""
        return self._runs.coded(stop, block[start:stop])

    def _add(self, totals: NDArray[np.float64], bits: NDArray[np.float64], streams: Ints) -> None:
        """Add the symbols' bits, given as log2 of probabilities (tried, n), to the totals (tried, streams)."""
        for row, each in zip(totals, bits, strict=True):
            row -= np.bincount(streams, each, totals.shape[1])


def _weighted(magnitude: Ints, taps: Sequence[int]) -> Ints:
    """Return (steps, lanes) weighted sums of the magnitudes before each symbol; before a lane's start they are 1."""
    padded = np.concatenate([np.ones((len(taps), magnitude.shape[1]), np.int64), magnitude])
    total = np.zeros(magnitude.shape, np.int64)
    for back, weight in enumerate(taps, 1):
        total += weight * padded[len(taps) - back : len(padded) - back]
    return total
