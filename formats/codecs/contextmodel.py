"""Model the probabilities of the context codec: adaptive counts in contexts of magnitude, all in integers.

Trained networks have filters, input channels and neighbourhoods with small weights. A symbol's magnitude is its
distance from the middle of the (sorted) codebook. The expected log magnitude of a symbol is a weighted sum of three:
the running means of its filter and of its input channel, and the magnitudes of the symbols just before it in its lane.
Its context is a cell (an interval) of that sum, combined with the side of the middle on which the symbol before lies.
Encoder and decoder start with empty counts and update them between epochs of steps, so the payload only tells which
weights are used.

For a refinement all parents are known. There the context is the parent, combined with a cell of the magnitudes of the
parents in the filter, in the channel and on both sides; so all contexts are known before the first symbol.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from qacomp.formats.codecs.base import Array, Stream
from qacomp.formats.codecs.contextcounts import Ints, add_each
from qacomp.formats.codecs.contextplaces import Places

CELLS = 16
CELL_SHIFT = 8
HALF_RANGE = CELLS << CELL_SHIFT >> 1
OCTAVE = 64
"""Units: logarithms are in 1/64 octaves and weights in sixteenths, so a cell (256 units) is a quarter of an octave."""

TAPS = ((10, 6), (8, 5, 3), (6, 5, 3, 2), (5, 4, 3, 2, 1, 1))
"""Weights, in sixteenths, of the magnitudes 1, 2, ... steps back in the lane."""

FIRST_EPOCH = 4


@dataclass(frozen=True)
class Setting:
    """Weights of the filter's, the channel's and the recent magnitudes, in sixteenths; 2**coarse cells are merged.

    sides: contexts depend on the side of the symbol before.
    """

    filter: int
    channel: int
    recent: int
    coarse: int
    sides: bool

    @property
    def cells(self) -> int:
        """Return the number of cells after merging."""
        return CELLS >> self.coarse


SETTINGS = (
    Setting(0, 0, 0, 4, False),
    Setting(0, 0, 0, 4, True),
    Setting(0, 0, 13, 0, True),
    Setting(0, 0, 13, 1, True),
    Setting(10, 10, 8, 1, True),
    Setting(13, 13, 6, 1, True),
    Setting(10, 10, 8, 2, False),
    Setting(0, 16, 7, 1, True),
    Setting(16, 0, 7, 1, True),
    Setting(13, 13, 6, 0, False),
    Setting(8, 8, 10, 0, True),
    Setting(10, 10, 13, 1, True),
)


@cache
def log_table() -> Ints:
    """Return log2 of 1 + i / 256, in 1/64 octaves, for i up to 256."""
    return np.array([round(OCTAVE * math.log2(1 + i / 256)) for i in range(257)], np.int64)


def log2_fixed(values: Ints) -> Ints:
    """Compute log2 of integers from 1 to 2**52, in 1/64 octaves, from the leading one and the eight bits below it."""
    mantissa, exponent = np.frexp(values.astype(np.float64))  # exact: mantissa in [0.5, 1)
    fraction = (mantissa * 512).astype(np.int64) - 256
    return (exponent.astype(np.int64) - 1) * OCTAVE + log_table().take(fraction)


_LOG_9 = int(log2_fixed(np.array([9]))[0])


def epochs(steps: int) -> list[tuple[int, int]]:
    """Return the epochs as [start, stop) of steps: lengths 4, 6, 9, ... up to 64 or 1/16 of the steps before."""
    spans, start, size = [], 0, FIRST_EPOCH
    while start < steps:
        stop = min(start + size, steps)
        spans.append((start, stop))
        start, size = stop, min(size * 3 // 2, max(64, stop >> 4))
    return spans


def middle(counts: Ints) -> int:
    """Return the symbol that holds the median of these counts."""
    return int(np.searchsorted(np.cumsum(counts), int(counts.sum()) / 2))


def magnitudes(alphabet: int, centre: int) -> Ints:
    """Return (alphabet,) magnitudes: four times the distance from the centre, plus one."""
    return 4 * np.abs(np.arange(alphabet) - centre) + 1


def contexts_of(stream: Stream, setting: Setting, path: bool = False) -> int:
    """Return the number of contexts of a stream under a setting. path: it follows a trellis (see trellispaths.py)."""
    if stream.parents is not None or stream.children:
        return len(stream.children) * setting.cells
    return setting.cells * (3 if setting.sides else 1) * (2 if path else 1)


class Neighbourhood:
    """The contexts of level 0, which depend on decoded symbols: running means, and the last symbols of a lane.

    paths: which streams follow a trellis; those have contexts for each of two quantizers.
    """

    def __init__(
        self,
        streams: Sequence[Stream],
        places: Places,
        centres: Sequence[int],
        settings: Sequence[Setting],
        taps: int,
        paths: Sequence[bool] | NDArray[np.bool_] | None = None,
    ) -> None:
        self.places = places
        self.taps = TAPS[taps]
        self.width = max(stream.alphabet for stream in streams)
        self.magnitude = np.ones((len(streams), self.width), np.int64)
        self.side = np.zeros((len(streams), self.width), np.int64)
        self.cell = np.zeros((len(streams), CELLS), np.int64)
        self.sided = np.array(
            [-int(setting.sides) for setting in settings]
        )  # a mask: a lane may come from a sided stream
        self.second = np.zeros(len(streams), np.int64)
        """Return by how much a context's number is higher under the second quantizer; 0 for a stream without a path."""
        priors, first = [], 0
        for row, (stream, centre, setting) in enumerate(zip(streams, centres, settings, strict=True)):
            alphabet = stream.alphabet
            self.magnitude[row, :alphabet] = magnitudes(alphabet, centre)
            sides = 1
            if setting.sides:
                sides, slack = 3, alphabet >> 4
                symbols = np.arange(alphabet)
                self.side[row, :alphabet] = np.where(
                    symbols < centre - slack, 1, np.where(symbols > centre + slack, 2, 0)
                )
            self.cell[row] = first + (np.arange(CELLS) >> setting.coarse) * sides
            contexts = setting.cells * sides
            if paths is not None and paths[row]:
                self.second[row] = contexts
                contexts *= 2
            priors.append(np.full(contexts, row))
            first += contexts
        self.prior = np.concatenate(priors)
        self.valid = np.arange(self.width) < np.array([s.alphabet for s in streams])[:, None]
        weights = np.array([(s.filter, s.channel, s.recent) for s in settings])
        self._filter_weight = weights[places.filter_stream, 0]
        self._channel_weight = weights[places.channel_stream, 1]
        self._recent_weight = weights[:, 2]
        self._start = np.array([stream.alphabet for stream in streams])
        # sums and numbers of magnitudes: of each stream, filter and channel
        self._of_stream = np.zeros((2, len(streams)), np.int64)
        self._of_filter = np.zeros((2, len(places.filter_stream)), np.int64)
        self._of_channel = np.zeros((2, len(places.channel_stream)), np.int64)
        self.sums = 16 * (4 * self.width + 1)
        """Upper bound of the weighted sums of recent magnitudes."""

    def refresh(self) -> None:
        """Recompute the streams' mean magnitudes before the next epoch."""
        # (streams,) in sixteenths
        self._mean: Ints = (16 * (self._of_stream[0] + self._start)) // (self._of_stream[1] + 1)
        self._log: Ints = log2_fixed(self._mean)

    def base(self, positions: Ints) -> Ints:
        """Compute the part of the expected log magnitude that is constant in an epoch, for positions of any shape."""
        places, total = self.places, np.full(positions.shape, HALF_RANGE)
        if self._filter_weight.any():
            numbers = places.filter.take(positions)
            total += self._filter_weight.take(numbers) * self._means(numbers, self._of_filter, places.filter_stream)
        if self._channel_weight.any():
            numbers = places.channel.take(positions)
            total += self._channel_weight.take(numbers) * self._means(numbers, self._of_channel, places.channel_stream)
        return total

    def logarithms(self, positions: Ints) -> tuple[Ints, Ints]:
        """Return (filters, channels): log mean magnitude minus that of the stream, for positions of any shape."""
        places = self.places
        filters = self._means(places.filter.take(positions), self._of_filter, places.filter_stream)
        return filters, self._means(places.channel.take(positions), self._of_channel, places.channel_stream)

    def _means(self, numbers: Ints, sums: Ints, stream_of: Ints) -> Ints:
        """Return log mean magnitude minus that of the stream, for filters (or channels) of any shape.

        Calculated once for each filter or once for each position, whichever are fewer.
        """
        each = numbers.size < len(stream_of)
        if each:
            sums, stream_of = sums[:, numbers], stream_of[numbers]
        means = (16 * sums[0] + 4 * self._mean[stream_of]) // (sums[1] + 4)
        part: Ints = log2_fixed(means) - self._log[stream_of]
        return part if each else part.take(numbers)

    def recent(self, streams: Ints, sums: Ints) -> Ints:
        """Compute the part of the recent magnitudes from their weighted sums; streams and sums have the same shape."""
        part: Ints = self.recent_log(streams, sums) * self._recent_weight.take(streams)
        return part

    def recent_log(self, streams: Ints, sums: Ints) -> Ints:
        """Return log recent magnitude minus that of the stream's mean, from weighted sums; both of the same shape."""
        spread = log2_fixed(8 * sums + self._mean.take(streams))
        spread -= (self._log + _LOG_9).take(streams)
        return spread

    def recent_terms(self) -> tuple[list[int], list[int], list[int]]:
        """Return for each stream the terms of `recent`: the mean, the logarithm to subtract, and the weight."""
        return self._mean.tolist(), (self._log + _LOG_9).tolist(), self._recent_weight.tolist()

    def recent_table(self) -> Ints:
        """Compute `recent` of every stream and every possible sum: (streams, sums). Faster if more symbols follow."""
        return self.recent(np.arange(len(self._mean))[:, None], np.arange(self.sums)[None, :])

    def update(self, positions: Ints, symbols: Array) -> None:
        """Add an epoch's symbols, flat, with their positions, to the running means."""
        streams = self.places.stream.take(positions)
        magnitude = self.magnitude.ravel().take(streams * self.width + symbols)
        for sums, groups in (
            (self._of_stream, streams),
            (self._of_filter, self.places.filter.take(positions)),
            (self._of_channel, self.places.channel.take(positions)),
        ):
            add_each(sums[0], groups, magnitude)
            add_each(sums[1], groups)


def refinement_contexts(
    streams: Sequence[Stream], places: Places, settings: Sequence[Setting]
) -> tuple[Ints, Ints, NDArray[np.bool_]]:
    """Return (contexts, priors, valid) of refinements.

    contexts: the context of each position; priors: the row of each context's prior; valid: mask (priors, alphabet) of
    the symbols that may occur.
    """
    contexts, priors, valid = [], [], []
    width = max(stream.alphabet for stream in streams)
    start, first, row = 0, 0, 0
    for stream, setting in zip(streams, settings, strict=True):
        assert stream.parents is not None
        parents, cells = stream.parents.astype(np.int64), setting.cells
        count = len(stream.children)
        magnitude = magnitudes(count, middle(np.bincount(parents, minlength=count))).take(parents)
        span = slice(start, start + stream.count)
        mean = (16 * (int(magnitude.sum()) + count)) // (stream.count + 1)
        log = log2_fixed(np.array([mean]))[0]
        total = np.full(stream.count, HALF_RANGE)
        for weight, groups in ((setting.filter, places.filter[span]), (setting.channel, places.channel[span])):
            local = groups - (groups.min() if len(groups) else 0)
            sums = np.bincount(local, magnitude).astype(np.int64)
            means = (16 * sums + 4 * mean) // (np.bincount(local) + 4)
            total += (weight * (log2_fixed(means) - log)).take(local)
        around = np.full(stream.count + 2, mean >> 4)
        around[1:-1] = magnitude
        recent = 64 * (around[:-2] + around[2:]) + mean
        total += setting.recent * (log2_fixed(recent) - log - _LOG_9)
        cell = np.clip(total >> CELL_SHIFT, 0, CELLS - 1) >> setting.coarse
        contexts.append(first + parents * cells + cell)
        priors.append(row + np.repeat(np.arange(count), cells))
        valid.append(np.arange(width) < np.array(stream.children)[:, None])
        start, first, row = start + stream.count, first + count * cells, row + count
    return np.concatenate(contexts), np.concatenate(priors), np.concatenate(valid)
