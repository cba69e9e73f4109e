"""Leave out the rows and columns that hold nothing but one index, as pruned filters and channels do.

What is left of each tensor is a smaller, denser one. It is encoded by another codec, and so are the marks of the rows
and columns that are left.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np

from qacomp.formats.bytestream import ByteReader, ByteWriter
from qacomp.formats.codecs.base import CODECS, Array, Codec, Stream, codec_of, register, word_dtype
from qacomp.formats.errors import CodecError

INNER = ("raw", "bitpack", "huffman", "rans", "context", "zstd", "lzma")
"""The codecs that may encode what is left, and the marks."""
_LEFT = 0.8  # the largest part of the indices that may be left: else the marks hardly pay
_ENTROPY_CODERS, _MANY = ("rans", "context"), 1 << 16
"""The codecs that are tried where more indices than this are left: others take long, and rarely fewer bytes."""
_MARKED_WORK = 2  # nanoseconds of decoding for each index of the whole


@dataclass(frozen=True)
class _Part:
    """What is left of one stream. rows, columns: marks, True where one is left; index: the one of all others."""

    rows: Array
    columns: Array
    index: int

    def stream(self, whole: Stream) -> Stream:
        """Return the stream of the indices that are left."""
        return _left(whole, int(self.rows.sum()), int(self.columns.sum()))


@register
class PrunedRows(Codec):
    """Encodes the rows and columns that hold more than one index; for whole rows of tensors, at their coarsest level.

    A row is all indices with the same first coordinate, a column all with the same second one.
    """

    id = 12
    name = "pruned"
    kinds = ("indices",)
    samples = True
    since = 3
    footprint = 60
    gain = 16

    def __init__(self, inner: Sequence[str] = INNER) -> None:
        self._inner = inner

    def without(self, names: Collection[str]) -> Codec:
        """Return the codec, which puts none of these codecs inside."""
        return PrunedRows([name for name in self._inner if name not in names])

    def encode(self, parts: Sequence[Array], streams: Sequence[Stream]) -> bytes | None:
        """Return numbers of rows and columns, their marks, and what is left; None if too much is left."""
        return self.encode_below(parts, streams, 1 << 62)

    def encode_below(self, parts: Sequence[Array], streams: Sequence[Stream], most: int) -> bytes | None:
        """Encode, or return None early if the result would take more than `most` bytes."""
        if not streams or not all(_fits(stream) for stream in streams):
            return None
        found = [_part(part, stream) for part, stream in zip(parts, streams, strict=True)]
        left = [part.stream(stream) for part, stream in zip(found, streams, strict=True)]
        if sum(s.count for s in left) > _LEFT * sum(s.count for s in streams):
            return None
        out = ByteWriter()
        for part, stream in zip(found, left, strict=True):
            for number in (part.index, stream.shape[0], stream.shape[1]):
                out.uint(number)
        marks = [np.concatenate([part.rows, part.columns]).astype(np.uint8) for part in found]
        kept = [
            _table(p, s)[part.rows][:, part.columns].reshape(-1)
            for p, s, part in zip(parts, streams, found, strict=True)
        ]
        for values, described in ((marks, [_marks(s) for s in streams]), (kept, left)):
            coded = _smallest(values, described, most - len(out.buffer), self._inner)
            if coded is None:
                return None
            codec, payload = coded
            out.uint(codec.id)
            out.uint(len(payload))
            out.raw(payload)
        return bytes(out.buffer) if len(out.buffer) <= most else None

    def decode(self, payload: memoryview, streams: Sequence[Stream]) -> list[Array]:
        """Decode marks and indices; every field is checked before it is used. Raises CodecError."""
        read = _Read(payload, streams)
        parts = []
        for whole, index, left, marks, values in zip(
            streams, read.indices, read.left, read.marks.decode(), read.values.decode(), strict=True
        ):
            rows, columns = (part == 1 for part in np.split(marks, [_sides(whole)[0]]))
            if (int(rows.sum()), int(columns.sum())) != left.shape[:2]:
                raise CodecError("marks don't fit the numbers of rows and columns; the file is damaged")
            table = np.full(_sides(whole), index, word_dtype(whole))
            table[np.ix_(rows, columns)] = values.reshape(*left.shape[:2], table.shape[2])
            parts.append(table.reshape(-1))
        return parts

    def work(self, payload: memoryview, streams: Sequence[Stream]) -> int:
        """Estimate the nanoseconds of decoding: those of both inner codecs, and of putting indices in their places."""
        read = _Read(payload, streams)
        return super().work(payload, streams) + sum(
            (read.marks.work(), read.values.work(), _MARKED_WORK * sum(s.count for s in streams))
        )


@dataclass(frozen=True)
class _Inner:
    """The payload of an inner codec."""

    codec: Codec
    payload: memoryview
    streams: Sequence[Stream]

    def decode(self) -> list[Array]:
        """Return what it holds."""
        return self.codec.decode(self.payload, self.streams)

    def work(self) -> int:
        """Return the nanoseconds of decoding it."""
        return self.codec.work(self.payload, self.streams)


class _Read:
    """The fields of a payload. indices: of what was left out; left: the streams of what is left."""

    def __init__(self, payload: memoryview, streams: Sequence[Stream]) -> None:
        if not all(_fits(stream) for stream in streams):
            raise CodecError("the codec pruned is used for parts of rows, or for a refinement; the file is damaged")
        reader = ByteReader(payload, CodecError)
        self.indices: list[int] = []
        self.left: list[Stream] = []
        for stream in streams:
            sides = _sides(stream)
            self.indices.append(reader.uint(max(stream.alphabet, 1) - 1))
            self.left.append(_left(stream, reader.uint(sides[0]), reader.uint(sides[1])))
        self.marks = self._inner(reader, [_marks(stream) for stream in streams])
        self.values = self._inner(reader, self.left)
        reader.end()

    def _inner(self, reader: ByteReader, streams: Sequence[Stream]) -> _Inner:
        codec = codec_of(number) if (number := reader.uint(255)) in CODECS else None
        if codec is None or codec.name not in INNER:
            raise CodecError(f"codec {number} can't be used inside the codec pruned; the file is damaged")
        return _Inner(codec, reader.raw(reader.uint(reader.rest())), streams)


def _fits(stream: Stream) -> bool:
    """Return whether a stream holds whole rows of a tensor with two axes or more, at its coarsest level."""
    row = math.prod(stream.shape[1:])
    whole = len(stream.shape) > 1 and row > 0 and stream.count > 0 and not (stream.count % row or stream.start % row)
    return whole and stream.parents is None


def _sides(stream: Stream) -> tuple[int, int, int]:
    """Return (rows, columns, indices of a row in a column)."""
    deep = math.prod(stream.shape[2:])
    return stream.count // (stream.shape[1] * deep), stream.shape[1], deep


def _table(part: Array, stream: Stream) -> Array:
    return part.reshape(_sides(stream))


def _part(part: Array, stream: Stream) -> _Part:
    """Return which rows and columns hold other indices than the commonest one."""
    index = int(np.bincount(part).argmax())
    other = _table(part, stream) != index
    return _Part(other.any(axis=(1, 2)), other.any(axis=(0, 2)), index)


def _left(whole: Stream, rows: int, columns: int) -> Stream:
    shape = (rows, columns, *whole.shape[2:])
    return replace(whole, count=math.prod(shape), shape=shape, start=0)


def _marks(whole: Stream) -> Stream:
    sides = sum(_sides(whole)[:2])
    return Stream("indices", sides, alphabet=2, shape=(sides,))


def _smallest(
    parts: Sequence[Array], streams: Sequence[Stream], most: int, inner: Sequence[str]
) -> tuple[Codec, bytes] | None:
    """Return the codec of `inner` that takes the fewest bytes (at most `most`), and its bytes; ties: the lower id."""
    best: tuple[Codec, bytes] | None = None
    few = sum(stream.count for stream in streams) <= _MANY
    names = [name for name in inner if few or name in (*_ENTROPY_CODERS, "raw")]
    for _, codec in sorted(CODECS.items()):
        if codec.name in names:
            coded = codec.encode_below(parts, streams, most)
            if coded is not None and len(coded) <= most and (best is None or len(coded) < len(best[1])):
                best, most = (codec, coded), len(coded)
    return best
