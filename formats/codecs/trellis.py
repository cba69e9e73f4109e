"""Encode indices that follow a trellis: as the codec context does, with contexts for each of two quantizers.

Rounding on a trellis takes fewer bytes at an equal error than rounding to a uniform grid. The multiples of the step
that it chooses lie in rows that start in state 0, and every second multiple can't occur in a state; so what is coded
are numbers of about half as many symbols. The codec takes indices of neighbouring multiples whose rows follow the
trellis, and finds out by itself which index stands for zero. Other streams of a section are coded as by the codec
context.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from qacomp.formats.bytestream import ByteReader, ByteWriter
from qacomp.formats.codecs import contextmodel as model
from qacomp.formats.codecs import trellispaths as paths
from qacomp.formats.codecs.base import Array, Codec, Stream, register, split, word_dtype
from qacomp.formats.codecs.context import MAX_ALPHABET as MOST_SYMBOLS
from qacomp.formats.codecs.context import bits_for, check, coded, decoded, payload_of, work_of
from qacomp.formats.codecs.contextchoice import choose
from qacomp.formats.codecs.contextjoint import Payload
from qacomp.formats.codecs.contextlanes import Parameters, Runs
from qacomp.formats.codecs.trellispaths import NO_PATH, Path, Paths
from qacomp.formats.errors import CodecError
from qacomp.formats.limits import MAX_CONTEXT_CELLS, MAX_LANES

MAX_ALPHABET = 2 * MOST_SYMBOLS - 1
_LANE_BITS, _HEAD_BYTES, _STREAM_BYTES = 18, 3, 3
_ROW_STEP_WORK = 4_000  # nanoseconds of following a value of all rows


@register
class Trellis(Codec):
    """Encodes as the module describes; for alphabets up to 511 whose paths have at most 256 symbols."""

    id = 13
    name = "trellis"
    kinds = ("indices",)
    samples = True
    since = 5
    footprint = 72
    gain = 16
    together = True

    def encode(self, parts: Sequence[Array], streams: Sequence[Stream]) -> bytes | None:
        """Return parameters, the lanes' states on the trellis, and what the codec context puts out.

        None if no stream follows a trellis, or the alphabet or the number of contexts is too large.
        """
        return self.encode_below(parts, streams, 1 << 62)

    def encode_below(self, parts: Sequence[Array], streams: Sequence[Stream], most: int) -> bytes | None:
        """Encode, or return None early if the estimate of the best settings is more than `most` bytes."""
        found = [_path_of(part, stream) for part, stream in zip(parts, streams, strict=True) if stream.count]
        used = [stream for stream in streams if stream.count]
        ways = [path for path, _, _ in found]
        if all(path.way == NO_PATH for path in ways) or any(s.parents is not None or s.children for s in used):
            return None
        symbols = [paths.symbol_stream(stream, path) for stream, path in zip(used, ways, strict=True)]
        width = max(stream.alphabet for stream in symbols)
        if width > MOST_SYMBOLS or len(used) * 6 * model.CELLS * width > MAX_CONTEXT_CELLS:
            return None
        flat = np.concatenate([part for _, part, _ in found]).astype(np.uint8)
        states = np.concatenate([states for _, _, states in found])
        rows = rows_of(used, ways, np.zeros(0, np.uint8), states)
        bits, centres = bits_for(symbols), [paths.centre_of(path) for path in ways]
        lanes, taps, settings, estimate = choose(flat, symbols, centres, bits, rows)
        if estimate + 8 * (_HEAD_BYTES + _STREAM_BYTES * len(used)) + _LANE_BITS * lanes > 8 * most:
            return None
        out = ByteWriter()
        for number in (bits, taps, lanes):
            out.uint(number)
        for path, setting in zip(ways, settings, strict=True):
            out.uint(path.centre)
            out.uint(model.SETTINGS.index(setting))
            out.uint(path.way)
        out.raw(np.append(states, np.uint8(0)).take(Runs(len(flat), lanes, width).first).tobytes())
        out.raw(coded(flat, Parameters(symbols, centres, settings, taps, bits, rows), lanes))
        return bytes(out.buffer)

    def work(self, payload: memoryview, streams: Sequence[Stream]) -> int:
        """Estimate the nanoseconds of decoding: as of the codec context, and of following all rows."""
        total, used = super().work(payload, streams), [s for s in streams if s.count]
        if not used:
            return total
        lanes, chosen, ways = read_parameters(ByteReader(payload, CodecError), used)
        steps = sum(min(paths.row_length(s, path.way), s.count) for s, path in zip(used, ways, strict=True))
        return total + work_of(lanes, chosen) + steps * _ROW_STEP_WORK

    def decode(self, payload: memoryview, streams: Sequence[Stream]) -> list[Array]:
        """Decode the indices; every field is checked before it is used. Raises CodecError."""
        return self.decode_many([(payload, streams)])[0]

    def decode_many(self, payloads: Sequence[tuple[memoryview, Sequence[Stream]]]) -> list[list[Array]]:
        """Decode several payloads together, step by step. Raises CodecError."""
        read = [_read(payload, streams) for payload, streams in payloads]
        flats = decoded([None if found is None else found.payload for found in read])
        return [
            [np.zeros(0, word_dtype(s)) for s in streams] if found is None else _parts(flat, found, streams)
            for flat, found, (_, streams) in zip(flats, read, payloads, strict=True)
        ]


@dataclass(frozen=True)
class _Followed:
    """A payload whose fields were checked, and the path of each stream that has symbols."""

    payload: Payload
    ways: Sequence[Path]


def _path_of(part: Array, stream: Stream) -> tuple[Path, Array, NDArray[np.uint8]]:
    """Return a stream's path, its symbols, and the states before them; without a path the indices themselves."""
    found = paths.found_path(part, stream)
    if found is not None:
        return found
    centre = model.middle(np.bincount(part, minlength=stream.alphabet))
    return Path(NO_PATH, centre), part, np.zeros(part.size, np.uint8)


def rows_of(streams: Sequence[Stream], ways: Sequence[Path], starts: Array, states: Array) -> Paths:
    """Return the rows of all streams. starts: (lanes,), for a decoder; states: (count,), for an encoder."""
    on = np.array([path.way != NO_PATH for path in ways])
    odd = np.array([paths.centre_of(path) & 1 for path in ways], np.uint8)
    fresh = np.concatenate([paths.fresh_of(s, path.way) for s, path in zip(streams, ways, strict=True)])
    return Paths(on, odd, fresh, starts, states)


def read_parameters(reader: ByteReader, used: Sequence[Stream]) -> tuple[int, Parameters, list[Path]]:
    """Read the lanes, the parameters and the paths of streams with symbols; no states yet. Raises CodecError."""
    bits, taps, lanes = reader.uint(14), reader.uint(len(model.TAPS) - 1), reader.uint(MAX_LANES)
    settings, ways = [], []
    for stream in used:
        centre = reader.uint(stream.alphabet - 1)
        settings.append(model.SETTINGS[reader.uint(len(model.SETTINGS) - 1)])
        ways.append(Path(reader.uint(paths.FROM_THIRD), centre))
        if stream.parents is not None or stream.children or not paths.fits(stream, ways[-1].way):
            raise CodecError("the codec trellis is used for indices that it can't hold; the file is damaged")
    symbols = [paths.symbol_stream(stream, path) for stream, path in zip(used, ways, strict=True)]
    none = np.zeros(0, np.uint8)
    on = np.array([path.way != NO_PATH for path in ways])
    rows = Paths(on, none, np.zeros(0, bool), none, none)
    centres = [paths.centre_of(path) for path in ways]
    return lanes, Parameters(symbols, centres, settings, taps, bits, rows), ways


def _read(payload: memoryview, streams: Sequence[Stream]) -> _Followed | None:
    """Read and check the fields of a payload; None if its streams have no symbols. Raises CodecError."""
    used = [s for s in streams if s.count]
    if not used:
        if len(payload):
            raise CodecError("a payload without symbols isn't empty; the file is damaged")
        return None
    reader = ByteReader(payload, CodecError)
    lanes, chosen, ways = read_parameters(reader, used)
    check(lanes, chosen)
    starts = np.frombuffer(reader.raw(lanes), np.uint8)
    if int(starts.max()) >= paths.STATES:
        raise CodecError("a lane's state on the trellis is out of range; the file is damaged")
    ways[0] = replace(ways[0], start=int(starts[0]))
    rows = rows_of(used, ways, starts, np.zeros(0, np.uint8))
    return _Followed(payload_of(reader, lanes, replace(chosen, paths=rows)), ways)


def _parts(flat: Array, read: _Followed, streams: Sequence[Stream]) -> list[Array]:
    """Return the indices of each stream. Raises CodecError for one outside its codebook, or a lane's wrong state."""
    used = [stream for stream in streams if stream.count]
    symbols = split(flat, used)
    walked = [paths.walked(p, s, path) for p, s, path in zip(symbols, used, read.ways, strict=True)]
    rows, first = read.payload.chosen.paths, read.payload.runs.first
    assert rows is not None
    states = np.append(np.concatenate(walked), np.uint8(0))  # lanes without symbols start behind the last one
    if (rows.fresh[0] and rows.starts[0]) or (states.take(first) != rows.starts).any():
        raise CodecError("a lane's state on the trellis doesn't follow from the lane before; the file is damaged")
    found = []
    for stream, path, part, before in zip(used, read.ways, symbols, walked, strict=True):
        indices = paths.indices_of(part, before, stream, path)
        if int(indices.max()) >= stream.alphabet:
            raise CodecError("an index lies outside its codebook; the file is damaged")
        found.append(paths.turned_back(indices.astype(word_dtype(stream), copy=False), stream, path.way))
    each = iter(found)
    return [next(each) if stream.count else np.zeros(0, word_dtype(stream)) for stream in streams]
