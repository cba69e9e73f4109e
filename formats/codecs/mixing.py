"""Encode indices bit by bit, each bit under a mix of the predictions of several contexts.

An index is coded as its distance from a centre: flags that say whether the magnitude is above 0, above 1, and so on,
and a sign. All values of a block are coded together (see mixingblocks.py), so encoder and decoder are array operations.
Indices that follow a trellis are coded as the symbols of trellispaths.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from qacomp.formats.bytestream import ByteReader, ByteWriter
from qacomp.formats.codecs import bitlanes
from qacomp.formats.codecs import trellispaths as paths
from qacomp.formats.codecs.base import CODECS, Array, Codec, Stream, register, sample, word_dtype
from qacomp.formats.codecs.context import MAX_ALPHABET as MOST_SYMBOLS
from qacomp.formats.codecs.contextmodel import middle
from qacomp.formats.codecs.lanes import read_lanes
from qacomp.formats.codecs.mixingblocks import table_of
from qacomp.formats.codecs.mixingwalk import Coder, Walk
from qacomp.formats.codecs.trellispaths import FROM_THIRD, NO_PATH, STATES, Path
from qacomp.formats.errors import CodecError, LimitExceededError
from qacomp.formats.limits import MAX_LANES

MAX_ALPHABET = 2 * MOST_SYMBOLS - 1
_LANE_BYTES, _MOST_LANES = 2000, 256  # a lane's state takes two bytes more than it holds: a thousandth of the payload
_FLAGS = 6  # mean magnitude above which flags are too many
_LONG, _SAMPLE = 1 << 19, 1 << 16  # values from which a sample must show the gain; of the sample
_WORTH = 0.98  # part of the bytes under other codecs that it may take, since reading takes several times as long
_MOST_BITS, _MOST_BITS_EACH = 1 << 26, 16
"""Bits that a delta may have made again, two bytes each: whatever the number of values, and for each value."""
_BLOCK_WORK, _VALUE_WORK = 100_000, 300  # nanoseconds of decoding the flags of one magnitude: a block, a value
_BYTE_WORK = 150_000
"""Nanoseconds a byte above which a payload isn't used: readers refuse files that take more than 200,000."""


@register
class Mixing(Codec):
    """Encodes as the module describes; for alphabets whose symbols are at most 256."""

    id = 14
    name = "mixing"
    kinds = ("indices",)
    samples = True
    since = 6
    footprint = 120
    gain = 16

    def encode(self, parts: Sequence[Array], streams: Sequence[Stream]) -> bytes | None:
        """Return centres, lane states and words; None if the streams don't suit the codec."""
        used = [stream for stream in streams if stream.count]
        if not used or not all(_fits(stream) for stream in used):
            return None
        present = [part for part, stream in zip(parts, streams, strict=True) if stream.count]
        if sum(s.count for s in used) > _LONG and not _worth(present, used):
            return None
        found = [_symbols(part, stream) for part, stream in zip(present, used, strict=True)]
        symbols = [Symbols(stream, path) for stream, (path, _) in zip(used, found, strict=True)]
        values = [part.astype(np.int64) - s.centre for (_, part), s in zip(found, symbols, strict=True)]
        wide = max(s.stream.alphabet for s in symbols) > MOST_SYMBOLS
        if wide or sum(int(np.abs(v).sum()) for v in values) > _FLAGS * sum(v.size for v in values):
            return None
        coder = bitlanes.Recorder()
        _walk(symbols, coder, values)
        lanes = min(max(coder.cost() // (8 * _LANE_BYTES), 1), _MOST_LANES)
        out = ByteWriter()
        out.uint(lanes)
        for stream, (path, _) in zip(used, found, strict=True):
            out.uint(4 * path.centre + path.way)
            if _starts_within(stream, path.way):
                out.uint(path.start)
        payload = bytes(out.buffer) + _states_and_words(coder, lanes)
        return payload if self.work(memoryview(payload), streams) <= _BYTE_WORK * len(payload) else None

    def encode_below(self, parts: Sequence[Array], streams: Sequence[Stream], most: int) -> bytes | None:
        """Encode, or return None if the result takes more than a little below `most` bytes."""
        payload = self.encode(parts, streams)
        return payload if payload is not None and len(payload) <= _WORTH * most else None

    def work(self, payload: memoryview, streams: Sequence[Stream]) -> int:
        """Estimate the nanoseconds of decoding, if every magnitude were as large as it may be."""
        total, used = super().work(payload, streams), [s for s in streams if s.count]
        for symbols in read_parameters(ByteReader(payload, CodecError), used)[1]:
            table = table_of(symbols.stream)
            each = table.number_of_blocks() * _BLOCK_WORK + table.count * _VALUE_WORK
            total += each * (symbols.most + 1)
        return total

    def decode(self, payload: memoryview, streams: Sequence[Stream]) -> list[Array]:
        """Decode the indices; every field is checked before it is used. Raises CodecError."""
        used = [stream for stream in streams if stream.count]
        if not used:
            if len(payload):
                raise CodecError("a payload without symbols isn't empty; the file is damaged")
            return [np.zeros(0, word_dtype(stream)) for stream in streams]
        reader = ByteReader(payload, CodecError)
        lanes, symbols = read_parameters(reader, used)
        decoder = bitlanes.BitDecoder(*read_lanes(reader, lanes))
        found = _walk(symbols, decoder, None)
        decoder.finish()
        parts = iter([_indices(v, s, t) for v, s, t in zip(found, symbols, used, strict=True)])
        return [next(parts) if stream.count else np.zeros(0, word_dtype(stream)) for stream in streams]


@dataclass(frozen=True)
class Symbols:
    """Hold the symbols of a stream of indices that has a path, or the indices themselves."""

    whole: Stream
    path: Path

    @property
    def stream(self) -> Stream:
        """Return the stream of the symbols."""
        return paths.symbol_stream(self.whole, self.path)

    @property
    def centre(self) -> int:
        """Return the symbol of magnitude zero."""
        return paths.centre_of(self.path)

    @property
    def most(self) -> int:
        """Return the largest magnitude."""
        return max(self.centre, self.stream.alphabet - 1 - self.centre)


def _fits(stream: Stream) -> bool:
    return stream.parents is None and not stream.children


def _worth(parts: Sequence[Array], streams: Sequence[Stream]) -> bool:
    """Return whether a sample of long streams takes clearly fewer bytes than under the codec context or trellis."""
    cut, described = sample(parts, streams, _SAMPLE)
    own = CODECS[Mixing.id].encode(cut, described)
    others = [c.encode(cut, described) for c in CODECS.values() if c.name in ("context", "trellis")]
    sizes = [len(other) for other in others if other is not None]
    return own is not None and bool(sizes) and len(own) <= _WORTH * min(sizes)


def _symbols(part: Array, stream: Stream) -> tuple[Path, Array]:
    """Return a stream's path and its symbols; the indices themselves if it has none."""
    found = paths.found_path(part, stream)
    if found is not None:
        return found[0], found[1]
    return Path(NO_PATH, middle(np.bincount(part, minlength=stream.alphabet))), part


def _starts_within(stream: Stream, way: int) -> bool:
    """Return whether a stream starts within a row of a trellis, so that the state there must be told."""
    return way > paths.ALONG_FIRST and stream.start % paths.row_length(stream, way) > 0


def read_parameters(reader: ByteReader, used: Sequence[Stream]) -> tuple[int, list[Symbols]]:
    """Read the number of lanes, and centre and path of each stream. Raises CodecError."""
    lanes = reader.uint(MAX_LANES)
    found = []
    for stream in used:
        number = reader.uint(4 * max(stream.alphabet, 1) - 1)
        path = Path(number & FROM_THIRD, number >> 2)
        if not _fits(stream) or not paths.fits(stream, path.way):
            raise CodecError("the codec mixing is used for indices that it can't hold; the file is damaged")
        if _starts_within(stream, path.way):
            path = replace(path, start=reader.uint(STATES - 1))
        found.append(Symbols(stream, path))
    if any(symbols.stream.alphabet > MOST_SYMBOLS for symbols in found):
        raise CodecError("the codec mixing is used for an alphabet that is too large; the file is damaged")
    return lanes, found


def coded(symbols: Sequence[Symbols], parts: Sequence[Array], lanes: int) -> bytes:
    """Return the lanes' states and words of the symbols of all streams, each within its alphabet.

    Raises LimitExceededError for symbols so large that their bits would take too much memory.
    """
    coder = bitlanes.Recorder()
    values = [part.astype(np.int64) - s.centre for part, s in zip(parts, symbols, strict=True)]
    bits = sum(int(np.abs(v).sum()) + 2 * v.size for v in values)
    if bits > max(_MOST_BITS, _MOST_BITS_EACH * sum(v.size for v in values)):
        raise LimitExceededError(f"{bits} bits would take too much memory; the delta is hostile")
    _walk(symbols, coder, values)
    return _states_and_words(coder, lanes)


def _states_and_words(coder: bitlanes.Recorder, lanes: int) -> bytes:
    states, words = coder.coded(lanes)
    return states.astype("<u4").tobytes() + words.astype("<u2").tobytes()


def _walk(symbols: Sequence[Symbols], coder: Coder, values: Sequence[NDArray[np.int64]] | None) -> list[Array]:
    """Code all streams, one after the other; return their symbols. values: distances from the centres, to encode."""
    walk = Walk(len(symbols), coder)
    found = []
    for number, each in enumerate(symbols):
        away = walk.stream(number, each.stream, each.most, None if values is None else values[number])
        found.append(away + each.centre)
    return found


def _indices(symbols: Array, described: Symbols, whole: Stream) -> Array:
    """Return the indices that decoded symbols stand for. Raises CodecError for one outside its codebook."""
    path, stream = described.path, described.stream
    if int(symbols.min()) < 0 or int(symbols.max()) >= stream.alphabet:
        raise CodecError("an index lies outside its codebook; the file is damaged")
    states = paths.walked(symbols, whole, path)
    indices = paths.indices_of(symbols, states, whole, path)
    if int(indices.max()) >= whole.alphabet:
        raise CodecError("an index lies outside its codebook; the file is damaged")
    return paths.turned_back(indices.astype(word_dtype(whole), copy=False), whole, path.way)
