"""Context rANS: lanes in lock step under the adaptive model of contextmodel.py. Smallest on real networks.

A lane is a run of neighbours, so that its last symbols say something about the next. All lanes' first symbols are coded
first, then all second ones; between epochs of such steps both ends bring the model up to date with what was coded.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from qacomp.formats.bytestream import ByteReader, ByteWriter
from qacomp.formats.codecs import contextmodel as model
from qacomp.formats.codecs.base import Array, Codec, Stream, register, sample, split, word_dtype
from qacomp.formats.codecs.contextmodel import Ints
from qacomp.formats.codecs.lanes import StepDecoder, StepEncoder, pack_tails, tail_length, unpack_tails
from qacomp.formats.codecs.rans import choose_lanes
from qacomp.formats.errors import CodecError
from qacomp.formats.limits import MAX_CONTEXT_CELLS, MAX_LANES, MAX_STEPS

MAX_ALPHABET = 256
_SAMPLE = 1 << 17
_MOST_STEPS = 1 << 14
_TRIAL = (model.SETTINGS[3], model.SETTINGS[4])
_BITS, _FINE_BITS = 12, 14


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

    def tails(self) -> Ints:
        """(tail, lanes) positions of the symbols that the lanes' first states hold."""
        return self.first + self.length - self.tail + np.arange(self.tail)[:, None]


@register
class Context(Codec):
    """See the module; alphabets up to 256."""

    id = 4
    name = "context"
    kinds = ("indices",)
    samples = True

    def encode(self, parts: Sequence[Array], streams: Sequence[Stream]) -> bytes | None:
        """Settings, lane states, words; None for an alphabet that is too large."""
        if max((stream.alphabet for stream in streams), default=1) > MAX_ALPHABET:
            return None
        used = [s for s in streams if s.count]
        if not used:
            return b""
        if sum(_most_contexts(s) for s in used) * max(s.alphabet for s in used) > MAX_CONTEXT_CELLS:
            return None
        flat = np.concatenate(parts)
        width = max(stream.alphabet for stream in used)
        bits = _BITS if width <= 64 else _FINE_BITS
        ends = np.cumsum([s.count for s in used])
        centres = [
            model.middle(np.bincount(flat[end - s.count : end], minlength=s.alphabet))
            for end, s in zip(ends.tolist(), used, strict=True)
        ]
        lanes, taps, settings = _choose(flat, used, centres, bits)
        runs = Runs(len(flat), lanes, width)
        frequency, first = _forward(flat, used, centres, settings, taps, bits, runs)
        states = pack_tails(flat.take(runs.tails()), width, lanes)
        encoder = StepEncoder(states, bits, runs.steps * lanes)
        for step in range(runs.steps - 1, -1, -1):
            n = runs.active(step)
            encoder.step(frequency[step, :n], first[step, :n])
        out = ByteWriter()
        for number in (bits, taps, lanes):
            out.uint(number)
        for centre, setting in zip(centres, settings, strict=True):
            out.uint(centre)
            out.uint(model.SETTINGS.index(setting))
        out.raw(encoder.states.astype("<u4").tobytes())
        out.raw(encoder.words().astype("<u2").tobytes())
        return bytes(out.buffer)

    def decode(self, payload: memoryview, streams: Sequence[Stream]) -> list[Array]:
        """The indices; every field is checked before it is used."""
        used = [s for s in streams if s.count]
        if not used:
            if len(payload):
                raise CodecError("a payload of no symbols isn't empty; the file is damaged")
            return [np.zeros(0, word_dtype(s)) for s in streams]
        width = max(s.alphabet for s in used)
        reader = ByteReader(payload, CodecError)
        bits, taps, lanes = reader.uint(14), reader.uint(len(model.TAPS) - 1), reader.uint(MAX_LANES)
        if bits < 9 or lanes == 0 or sum(s.count for s in used) > lanes * MAX_STEPS or width > MAX_ALPHABET:
            raise CodecError("the context codec's parameters are impossible; the file is damaged")
        centres, settings = [], []
        for stream in used:
            centres.append(reader.uint(stream.alphabet - 1))
            settings.append(model.SETTINGS[reader.uint(len(model.SETTINGS) - 1)])
        states = np.frombuffer(reader.raw(4 * lanes), "<u4")
        if reader.rest() % 2:
            raise CodecError("the coded words have an odd length; the file is damaged")
        decoder = StepDecoder(states, np.frombuffer(reader.raw(reader.rest()), "<u2"), bits)
        runs = Runs(sum(s.count for s in used), lanes, width)
        flat = _backward(decoder, used, centres, settings, taps, bits, runs)
        flat[runs.tails()] = unpack_tails(decoder.finish(width**runs.tail), width, runs.tail)
        result = iter(split(flat, used))
        decoded = [next(result) if s.count else np.zeros(0, np.uint8) for s in streams]
        for part, stream in zip(decoded, streams, strict=True):
            if part.size and int(part.max()) >= stream.alphabet:
                raise CodecError("an index lies outside its codebook; the file is damaged")
        return [part.astype(word_dtype(s), copy=False) for part, s in zip(decoded, streams, strict=True)]


def _most_contexts(stream: Stream) -> int:
    """Contexts that a stream can have under any setting."""
    return max(len(stream.children), 3) * model.CELLS


def _choose(
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
    frequency, _ = _forward(flat, used, centres, settings, taps, bits, runs)
    stream_of = np.repeat(np.arange(len(used)), [s.count for s in used])
    costs = np.zeros(len(used))
    positions = runs.first + np.arange(runs.steps)[:, None]
    if runs.longer:
        positions[-1, runs.longer :] = 0
        frequency[-1, runs.longer :] = 1 << bits
    costs += np.bincount(stream_of.take(positions.ravel()), bits - np.log2(frequency.ravel()), len(used))
    return costs


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


def _forward(
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
        positions = runs.first + np.arange(start, stop)[:, None]  # (epoch, lanes)
        last = stop == runs.steps and runs.longer > 0
        if last:
            positions[-1, runs.longer :] = positions[-1, 0]
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
        flat_contexts, flat_symbols, flat_positions = contexts.ravel(), symbols.ravel(), positions.ravel()
        if last:
            keep = (stop - start - 1) * runs.lanes + runs.longer
            flat_contexts, flat_symbols = flat_contexts[:keep], flat_symbols[:keep]
            flat_positions = flat_positions[:keep]
        counts.add(flat_contexts, flat_symbols)
        if near is not None:
            near.update(flat_positions, flat_symbols)
    return frequency, first


def _backward(
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
        last = stop == runs.steps and runs.longer > 0
        positions = runs.first + np.arange(start, stop)[:, None]  # (epoch, lanes)
        if last:
            positions[-1, runs.longer :] = positions[-1, 0]
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
        flat_contexts, flat_symbols, flat_positions = contexts.ravel(), block.ravel(), positions.ravel()
        if last:
            keep = (stop - start - 1) * runs.lanes + runs.longer
            flat_contexts, flat_symbols = flat_contexts[:keep], flat_symbols[:keep]
            flat_positions = flat_positions[:keep]
        flat[flat_positions] = flat_symbols
        counts.add(flat_contexts, flat_symbols)
        if near is not None:
            near.update(flat_positions, flat_symbols)
    return flat
