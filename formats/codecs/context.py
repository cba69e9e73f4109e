"""Encode indices with rANS in lanes, under the adaptive model of contextmodel.py.

A lane is a run of neighbouring symbols, so its last symbols help to predict the next one. A step codes one symbol of
each lane: first the first symbols of all lanes, then all second ones. Steps form epochs; after each epoch encoder and
decoder update the model with the symbols that were coded.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from qacomp.formats.bytestream import ByteReader, ByteWriter
from qacomp.formats.codecs import contextfew
from qacomp.formats.codecs import contextmodel as model
from qacomp.formats.codecs.base import Array, Codec, Stream, register, split, word_dtype
from qacomp.formats.codecs.contextchoice import choose, is_hopeless
from qacomp.formats.codecs.contextjoint import Payload, decode_together
from qacomp.formats.codecs.contextlanes import Parameters, Runs, backward, forward
from qacomp.formats.codecs.fewlanes import FEW_TO_ENCODE, encode_few
from qacomp.formats.codecs.lanes import pack_tails, read_lanes, unpack_tails
from qacomp.formats.codecs.lanesteps import StepDecoder, StepEncoder
from qacomp.formats.errors import CodecError
from qacomp.formats.limits import MAX_CONTEXT_CELLS, MAX_LANES, MAX_STEPS

MAX_ALPHABET = 256
_BITS, _FINE_BITS = 12, 14
_LANE_BITS, _HEAD_BYTES, _STREAM_BYTES = 10, 3, 2
"""Smallest cost besides the symbols: bits of a lane, bytes of the common parameters, bytes of a stream's parameters."""
_STREAM_WORK, _EPOCH_WORK, _CELL_WORK, _STEP_WORK, _ONE_WORK = 100_000, 200_000, 60, 16_000, 2_500
"""Nanoseconds of decoding: a stream, an epoch, a table entry in it, a step of all lanes, and a single symbol."""


@register
class Context(Codec):
    """Encodes as the module describes; for alphabets up to 256."""

    id = 4
    name = "context"
    kinds = ("indices",)
    samples = True
    footprint = 56
    together = True

    def encode(self, parts: Sequence[Array], streams: Sequence[Stream]) -> bytes | None:
        """Return parameters, lane states and words; None if the alphabet or the number of contexts is too large."""
        return self.encode_below(parts, streams, 1 << 62)

    def encode_below(self, parts: Sequence[Array], streams: Sequence[Stream], most: int) -> bytes | None:
        """Encode, or return None early if the estimate of the best settings is more than `most` bytes."""
        if max((stream.alphabet for stream in streams), default=1) > MAX_ALPHABET:
            return None
        used = [s for s in streams if s.count]
        if not used:
            return b""
        if sum(_most_contexts(s) for s in used) * max(s.alphabet for s in used) > MAX_CONTEXT_CELLS:
            return None
        flat = np.concatenate(parts)
        bits = bits_for(used)
        ends = np.cumsum([s.count for s in used])
        centres = [
            model.middle(np.bincount(flat[end - s.count : end], minlength=s.alphabet))
            for end, s in zip(ends.tolist(), used, strict=True)
        ]
        beside = 8 * (_HEAD_BYTES + _STREAM_BYTES * len(used))
        if is_hopeless(flat, used, centres, bits, 8 * most - beside):
            return None
        lanes, taps, settings, estimate = choose(flat, used, centres, bits)
        # The estimate uses real numbers; the rounded frequencies of the coder take a little more, never less.
        if estimate + beside + _LANE_BITS * lanes > 8 * most:
            return None
        found = coded(flat, Parameters(used, centres, settings, taps, bits), lanes)
        out = ByteWriter()
        for number in (bits, taps, lanes):
            out.uint(number)
        for centre, setting in zip(centres, settings, strict=True):
            out.uint(centre)
            out.uint(model.SETTINGS.index(setting))
        out.raw(found)
        return bytes(out.buffer)

    def work(self, payload: memoryview, streams: Sequence[Stream]) -> int:
        """Estimate the nanoseconds of decoding: the steps of the lanes, and the frequency tables of each epoch."""
        total, used = super().work(payload, streams), [s for s in streams if s.count]
        if not used:
            return total
        return total + work_of(*read_parameters(ByteReader(payload, CodecError), used))

    def decode(self, payload: memoryview, streams: Sequence[Stream]) -> list[Array]:
        """Decode the indices; every field is checked before it is used. Raises CodecError."""
        return self.decode_many([(payload, streams)])[0]

    def decode_many(self, payloads: Sequence[tuple[memoryview, Sequence[Stream]]]) -> list[list[Array]]:
        """Decode several payloads; those of few lanes and of level 0 together, step by step. Raises CodecError."""
        flats = decoded([_parse(payload, streams) for payload, streams in payloads])
        return [_parts(flat, streams) for flat, (_, streams) in zip(flats, payloads, strict=True)]


def _parse(payload: memoryview, streams: Sequence[Stream]) -> Payload | None:
    """Read and check the fields of a payload; None if its streams have no symbols. Raises CodecError."""
    used = [s for s in streams if s.count]
    if not used:
        if len(payload):
            raise CodecError("a payload without symbols isn't empty; the file is damaged")
        return None
    reader = ByteReader(payload, CodecError)
    lanes, chosen = read_parameters(reader, used)
    check(lanes, chosen)
    return payload_of(reader, lanes, chosen)


def contexts_of(chosen: Parameters) -> int:
    """Return the number of contexts of a payload."""
    on = [False] * len(chosen.streams) if chosen.on_paths is None else chosen.on_paths.tolist()
    each = zip(chosen.streams, chosen.settings, on, strict=True)
    return sum(model.contexts_of(stream, setting, path) for stream, setting, path in each)


def work_of(lanes: int, chosen: Parameters) -> int:
    """Estimate the nanoseconds of decoding the steps of the lanes, and the frequency tables of each epoch."""
    used = chosen.streams
    width, count = max(s.alphabet for s in used), sum(s.count for s in used)
    steps = -(-count // max(lanes, 1))
    epochs = len(model.epochs(min(steps, MAX_STEPS)))
    places = len(used) * 16 * (4 * width + 1)
    total = epochs * (_EPOCH_WORK + contexts_of(chosen) * width * _CELL_WORK + min(places * 40, steps * 20_000))
    step = _STEP_WORK if lanes > contextfew.FEW else lanes * _ONE_WORK
    return total + len(used) * _STREAM_WORK + steps * step + count * 60


def check(lanes: int, chosen: Parameters) -> None:
    """Check the parameters of a payload, before memory is taken. Raises CodecError."""
    used, width = chosen.streams, max(s.alphabet for s in chosen.streams)
    if chosen.bits < 9 or lanes == 0 or sum(s.count for s in used) > lanes * MAX_STEPS or width > MAX_ALPHABET:
        raise CodecError("a parameter of the context codec is out of range; the file is damaged")
    if contexts_of(chosen) * width > MAX_CONTEXT_CELLS:
        raise CodecError("the context codec has more contexts than the format allows; the file is damaged")


def payload_of(reader: ByteReader, lanes: int, chosen: Parameters) -> Payload:
    """Read the states and words of a payload with these parameters. Raises CodecError."""
    states, words = read_lanes(reader, lanes)
    used = chosen.streams
    return Payload(chosen, Runs(sum(s.count for s in used), lanes, max(s.alphabet for s in used)), states, words)


def decoded(payloads: Sequence[Payload | None]) -> list[Array]:
    """Return the symbols of all streams of each payload, flat; those of few lanes one by one. Raises CodecError."""
    flats: list[Array] = [np.zeros(0, np.uint8)] * len(payloads)
    joint: dict[int, list[int]] = {}
    for number, found in enumerate(payloads):
        if found is None:
            continue
        if found.chosen.streams[0].parents is None and found.runs.lanes > contextfew.FEW:
            joint.setdefault(found.chosen.bits, []).append(number)
        else:
            decoder = StepDecoder(found.states, found.words, found.chosen.bits)
            flat = backward(decoder, found.chosen, found.runs)
            flats[number] = _with_tails(found, flat, decoder.finish())
    for numbers in joint.values():
        together = [found for number in numbers if (found := payloads[number])]
        for number, found, done in zip(numbers, together, decode_together(together), strict=True):
            flats[number] = _with_tails(found, *done)
    return flats


def bits_for(used: Sequence[Stream]) -> int:
    """Return log2 of the slots of a table for streams of these alphabets."""
    return _BITS if max(stream.alphabet for stream in used) <= 64 else _FINE_BITS


def coded(flat: Array, chosen: Parameters, lanes: int) -> bytes:
    """Return the lanes' states and words of symbols under these parameters."""
    width = max(stream.alphabet for stream in chosen.streams)
    runs = Runs(len(flat), lanes, width)
    frequency, first = forward(flat, chosen, runs)
    states = pack_tails(flat.take(runs.tails()), width, lanes)
    states, words = encoded(states, frequency, first, runs, chosen.bits)
    return states.astype("<u4").tobytes() + words.astype("<u2").tobytes()


def _with_tails(payload: Payload, flat: Array, packed: NDArray[np.integer]) -> Array:
    """Put the symbols of the lanes' packed tails into a payload's flat symbols, in place, and return them."""
    width, runs = max(s.alphabet for s in payload.chosen.streams), payload.runs
    if int(packed.max()) >= width**runs.tail:
        raise CodecError("the coded words don't end where the lanes end; the file is damaged")
    flat[runs.tails()] = unpack_tails(packed.astype(np.uint32), width, runs.tail)
    return flat


def _parts(flat: Array, streams: Sequence[Stream]) -> list[Array]:
    """Return a part for each stream, from the symbols of all streams; raises CodecError for one above its alphabet."""
    parts = [part.astype(word_dtype(s), copy=False) for part, s in zip(split(flat, streams), streams, strict=True)]
    for part, stream in zip(parts, streams, strict=True):
        if part.size and int(part.max()) >= stream.alphabet:
            raise CodecError("an index lies outside its codebook; the file is damaged")
    return parts


def read_parameters(reader: ByteReader, used: Sequence[Stream]) -> tuple[int, Parameters]:
    """Read the number of lanes and the parameters."""
    bits, taps, lanes = reader.uint(14), reader.uint(len(model.TAPS) - 1), reader.uint(MAX_LANES)
    centres, settings = [], []
    for stream in used:
        centres.append(reader.uint(stream.alphabet - 1))
        settings.append(model.SETTINGS[reader.uint(len(model.SETTINGS) - 1)])
    return lanes, Parameters(used, centres, settings, taps, bits)


def _most_contexts(stream: Stream) -> int:
    """Return the most contexts that a stream can have under any setting."""
    return max(len(stream.children), 3) * model.CELLS


def encoded(
    states: NDArray[np.uint32], frequency: NDArray[np.uint32], first: NDArray[np.uint32], runs: Runs, bits: int
) -> tuple[NDArray[np.uint32], NDArray[np.uint16]]:
    """Return the lanes' states and words of symbols with these frequencies and first slots (steps, lanes)."""
    if runs.lanes <= FEW_TO_ENCODE:
        coded = runs.steps * runs.lanes - (runs.lanes - runs.active(runs.steps - 1) if runs.steps else 0)
        return encode_few(states, frequency.reshape(-1)[:coded], first.reshape(-1)[:coded], bits)
    encoder = StepEncoder(states, bits, runs.steps * runs.lanes)
    for step in range(runs.steps - 1, -1, -1):
        n = runs.active(step)
        encoder.step(frequency[step, :n], first[step, :n])
    return encoder.states, encoder.words()
