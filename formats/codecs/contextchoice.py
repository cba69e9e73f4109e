"""Choosing the context codec's lanes, taps and settings: all are tried, on a part of what is long.

What a setting takes is estimated from the counts of its contexts, for all settings at once, in real numbers: the codec
itself rounds them to frequencies. Which symbols a context depends on is told from the whole sequence beforehand.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qacomp.formats.codecs import contextmodel as model
from qacomp.formats.codecs.base import Array, Stream, sample, split
from qacomp.formats.codecs.contextcounts import COUNT_WEIGHT, PRIOR_BITS, Ints, add_each
from qacomp.formats.codecs.contextlanes import Runs
from qacomp.formats.codecs.rans import choose_lanes

_SAMPLE = 1 << 17
_MOST_STEPS = 1 << 14
_TRIAL = (model.SETTINGS[3], model.SETTINGS[4])
_TAPS_STREAMS = 32  # of many streams so many are tried for the taps
_FEW_STREAMS, _TINY_STREAM, _SMALL_STREAM, _USUAL_TAPS, _CLEAR = 8, 128, 1024, 1, 0.995
"""So many of very many streams, of so many symbols on the average, tell by these taps whether to go on. They
have shorter epochs than all streams together, which makes them look a hundredth better than they are."""
_SIDES = 3
_PRIOR = 1 << PRIOR_BITS


def choose(
    flat: Array, used: Sequence[Stream], centres: Sequence[int], bits: int
) -> tuple[int, int, list[model.Setting], float | None]:
    """Return (lanes, taps, a setting for each stream, bits): all settings are tried, on a part of what is long.

    bits: about what all symbols take then, or None where only a part was tried.
    """
    counts = len(flat)
    lanes = choose_lanes(counts, sum(_entropies(flat, used)), _MOST_STEPS)
    trial_streams, trial_flat = list(used), flat
    if counts > _SAMPLE * 3 // 2:
        trial_parts, trial_streams = sample(split(flat, used), used, _SAMPLE)
        trial_flat = np.concatenate(trial_parts)
    trial_lanes = max(1, min(lanes, len(trial_flat) >> 10))
    runs = Runs(len(trial_flat), trial_lanes, max(s.alphabet for s in used))
    trial = _Trial(trial_flat, trial_streams, runs, bits)
    if used[0].parents is not None:
        best = trial.refinements(model.SETTINGS)
        whole = float(best.min(axis=0).sum()) if trial_flat is flat else None
        return lanes, 0, [model.SETTINGS[i] for i in best.argmin(axis=0)], whole
    taps = _best_taps(trial_flat, trial_streams, centres, trial, trial_lanes)
    best = trial.costs([(taps, setting) for setting in model.SETTINGS], centres)
    whole = float(best.min(axis=0).sum()) if trial_flat is flat else None
    return lanes, taps, [model.SETTINGS[i] for i in best.argmin(axis=0)], whole


def is_hopeless(flat: Array, used: Sequence[Stream], centres: Sequence[int], bits: int, most: float) -> bool:
    """Return whether a few of very many small streams say that all take more than `most` bits under any setting.

    A stream of a few hundred symbols is over before its contexts are learnt, so this is common, and all settings of all
    streams take far longer to try than a static code takes.
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
    """Return the order-0 entropies of the streams' symbols, in bits, summed."""
    found = []
    for part in split(flat, streams):
        seen = np.bincount(part)
        share = seen[seen > 0] / len(part)
        found.append(-len(part) * float((share * np.log2(share)).sum()))
    return found


def _best_taps(flat: Array, streams: Sequence[Stream], centres: Sequence[int], trial: "_Trial", lanes: int) -> int:
    """Return the taps, one set for all streams, that take the fewest bits; of many streams some are tried."""
    step = -(-len(streams) // _TAPS_STREAMS)
    if step > 1:
        some = list(streams[::step])
        part = np.concatenate(split(flat, streams)[::step])
        centres = centres[::step]
        trial = _Trial(part, some, Runs(len(part), max(1, lanes // step), max(s.alphabet for s in some)), trial.bits)
    pairs = [(taps, setting) for taps in range(len(model.TAPS)) for setting in _TRIAL]
    costs = trial.costs(pairs, centres).reshape(len(model.TAPS), len(_TRIAL), -1)
    return int(costs.min(axis=1).sum(axis=1).argmin())


@dataclass(frozen=True)
class _Counted:
    """How often each context and symbol, and each prior and symbol, was seen, and what the next ones would take."""

    seen: Ints  # (tried, contexts * width)
    contexts: Ints  # (tried, contexts)
    priors: Ints  # (priors * width,)
    valid: Ints  # (priors,): symbols that may occur
    least: float  # a symbol's share: one slot

    def bits(self, contexts: Ints, priors: Ints, symbols: Ints, width: int) -> NDArray[np.float64]:
        """Return (tried, n) bits of symbols (n,) under contexts (tried, n) and priors (n,); then count them."""
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
    """A sequence on lanes, and what it takes under settings."""

    def __init__(self, flat: Array, streams: Sequence[Stream], runs: Runs, bits: int) -> None:
        self._streams, self._runs, self.bits = streams, runs, bits
        self._width = max(stream.alphabet for stream in streams)
        self._places = model.Places(streams)
        self._positions = runs.positions(0, runs.steps)  # (steps, lanes)
        self._symbols = flat.take(self._positions).astype(np.int64)
        self._stream = self._places.stream.take(self._positions).astype(np.int64)

    def refinements(self, settings: Sequence[model.Setting]) -> NDArray[np.float64]:
        """Return the bits (settings, streams)."""
        found = [model.refinement_contexts(self._streams, self._places, [s] * len(self._streams)) for s in settings]
        rows = found[0][1].take(found[0][0])  # the priors are those of every setting
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
        """Return the bits (pairs of taps and setting, streams)."""
        first = model.SETTINGS[1]  # with sides; contexts aren't taken from it
        near = model.Neighbourhood(self._streams, self._places, centres, [first] * len(self._streams), 0)
        keys = self._stream * near.width + self._symbols
        magnitude, sides = near.magnitude.ravel().take(keys), near.side.ravel().take(keys)
        side = np.concatenate([np.zeros((1, self._runs.lanes), np.int64), sides[:-1]])
        sums = {taps: _weighted(magnitude, model.TAPS[taps]) for taps in {taps for taps, _ in pairs}}
        counted = self._counted(
            len(pairs), len(self._streams) * model.CELLS * _SIDES, np.array([s.alphabet for s in self._streams])
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
            contexts *= _SIDES
            contexts += weights[:, 4:] * here
            contexts += streams * (model.CELLS * _SIDES)
            self._add(totals, counted.bits(contexts, streams, symbols, self._width), streams)
            near.update(positions, symbols)
        return totals

    def _counted(self, tried: int, contexts: int, valid: Ints) -> _Counted:
        seen, total = np.zeros((tried, contexts * self._width), np.int32), np.zeros((tried, contexts), np.int32)
        return _Counted(seen, total, np.zeros(len(valid) * self._width, np.int64), valid, 1 / (1 << self.bits))

    def _coded(self, block: Ints, start: int, stop: int) -> Ints:
        """Return what belongs to coded symbols of steps [start, stop) in a block (steps, lanes), flat."""
        return self._runs.coded(stop, block[start:stop])

    def _add(self, totals: NDArray[np.float64], bits: NDArray[np.float64], streams: Ints) -> None:
        """Take the streams' bits (negative: logarithms of shares) into the totals (tried, streams)."""
        for row, each in zip(totals, bits, strict=True):
            row -= np.bincount(streams, each, totals.shape[1])


def _weighted(magnitude: Ints, taps: Sequence[int]) -> Ints:
    """Return (steps, lanes) weighted sums of the magnitudes before, which are 1 before a lane's first."""
    padded = np.concatenate([np.ones((len(taps), magnitude.shape[1]), np.int64), magnitude])
    total = np.zeros(magnitude.shape, np.int64)
    for back, weight in enumerate(taps, 1):
        total += weight * padded[len(taps) - back : len(padded) - back]
    return total
