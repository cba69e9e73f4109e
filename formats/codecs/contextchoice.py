"""Choosing the context codec's lanes, taps and settings: all are tried, on a part of what is long."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from qacomp.formats.codecs import contextmodel as model
from qacomp.formats.codecs.base import Array, Stream, sample, split
from qacomp.formats.codecs.contextlanes import Runs, forward
from qacomp.formats.codecs.rans import choose_lanes

_SAMPLE = 1 << 17
_MOST_STEPS = 1 << 14
_TRIAL = (model.SETTINGS[3], model.SETTINGS[4])


def choose(
    flat: Array, used: Sequence[Stream], centres: Sequence[int], bits: int
) -> tuple[int, int, list[model.Setting]]:
    """(lanes, taps, a setting for each stream): all settings are tried, on a part of what is long."""
    counts = len(flat)
    entropy = 0.0
    for start, stream in zip(np.cumsum([0] + [s.count for s in used]).tolist(), used, strict=False):
        seen = np.bincount(flat[start : start + stream.count])
        share = seen[seen > 0] / stream.count
        entropy -= stream.count * float((share * np.log2(share)).sum())
    lanes = choose_lanes(counts, entropy, _MOST_STEPS)
    trial_streams, trial_flat = list(used), flat
    if counts > _SAMPLE * 3 // 2:
        trial_parts, trial_streams = sample(split(flat, used), used, _SAMPLE)
        trial_flat = np.concatenate(trial_parts)
    trial_lanes = max(1, min(lanes, len(trial_flat) >> 10))
    runs = Runs(len(trial_flat), trial_lanes, max(s.alphabet for s in used))
    refined = used[0].parents is not None

    def costs(settings: Sequence[model.Setting], taps: int) -> NDArray[np.float64]:
        """(settings, streams) bits."""
        each = [_costs(trial_flat, trial_streams, centres, [s] * len(used), taps, bits, runs) for s in settings]
        return np.array(each)

    taps = 0
    if not refined:
        taps = int(np.argmin([costs(_TRIAL, t).min(axis=0).sum() for t in range(len(model.TAPS))]))
    best = costs(model.SETTINGS, taps)
    return lanes, taps, [model.SETTINGS[i] for i in best.argmin(axis=0)]


def _costs(
    flat: Array,
    used: Sequence[Stream],
    centres: Sequence[int],
    settings: Sequence[model.Setting],
    taps: int,
    bits: int,
    runs: Runs,
) -> NDArray[np.float64]:
    """(streams,) bits that each stream takes."""
    frequency, _ = forward(flat, used, centres, settings, taps, bits, runs)
    stream_of = np.repeat(np.arange(len(used)), [s.count for s in used])
    positions = runs.positions(0, runs.steps)
    bits_each = bits - np.log2(runs.coded(runs.steps, frequency))
    costs: NDArray[np.float64] = np.zeros(len(used))
    costs += np.bincount(stream_of.take(runs.coded(runs.steps, positions)), bits_each, len(used))
    return costs
