"""Encode codebooks in blocks: each value as its difference from a prediction by its neighbours, as byte planes.

Codebooks of neighbouring blocks are alike, and each is sorted and often evenly spaced. So a value is predicted from the
value before it in its codebook, from the value at the same place in the codebook before, or from both. Floats are
mapped to integers in the same order first.
"""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from qacomp.formats.bytestream import ByteReader, ByteWriter
from qacomp.formats.codecs.base import Array, Codec, Stream, register, word_dtype
from qacomp.formats.codecs.planes import Planes
from qacomp.formats.dtypes import FLOAT_IDS
from qacomp.formats.errors import CodecError

NONE, BEFORE, ABOVE, BOTH, LINE = range(5)
"""The prediction of a value: 0; the value before it (for the first entry: the one above); the value above it, at the
same place in the codebook before; above + before - the value before the one above; the line through the two before."""

MOST_ENTRIES = 256
"""Most entries of a codebook with the method LINE, which is decoded entry by entry."""

_LINE_TYPES: dict[int, np.dtype[Any]] = {9: np.dtype("<f2"), 11: np.dtype("<f4")}
_PLAIN = {2: 3, 4: 5, 8: 7}  # ids of the unsigned integer types, by their size in bytes
_MOST_WORDS = 1 << 16  # the bits of a stream are estimated on this many values


@register
class Codebooks(Codec):
    """Encodes codebooks in blocks as the module describes; a stream must begin with a whole codebook."""

    id = 9
    name = "codebooks"
    kinds = ("values",)
    since = 1
    footprint = 32

    def __init__(self, planes: Codec | None = None) -> None:
        self._planes = planes or Planes()

    def without(self, names: Collection[str]) -> Codec:
        """Return the codec with planes that use none of these codecs."""
        return type(self)(self._planes.without(names))

    def encode(self, parts: Sequence[Array], streams: Sequence[Stream]) -> bytes | None:
        """Return one prediction method for each stream, then the differences of all streams under planes.

        None if a stream holds something else than codebooks in blocks.
        """
        if not _fits(streams):
            return None
        out = ByteWriter()
        rests = []
        for part, stream in zip(parts, streams, strict=True):
            methods = [method for method in range(5) if method != LINE or stream.shape[-1] <= MOST_ENTRIES]
            tried = [(_bits(rest := differences(part, stream, method)), method, rest) for method in methods]
            _, method, rest = min(tried, key=lambda entry: entry[:2])
            out.uint(method)
            rests.append(rest)
        planes = self._planes.encode(rests, [_plain(stream) for stream in streams])
        assert planes is not None
        out.raw(planes)
        return bytes(out.buffer)

    def work(self, payload: memoryview, streams: Sequence[Stream]) -> int:
        """Estimate the nanoseconds of decoding: those of the planes, of streams, values, and entries of method LINE."""
        if not _fits(streams):
            return super().work(payload, streams)
        reader = ByteReader(payload, CodecError)
        lines = sum(s.shape[-1] for s in streams if reader.uint(LINE) == LINE)
        plain = [_plain(stream) for stream in streams]
        values = sum(stream.count for stream in streams)
        coded = self._planes.work(reader.raw(reader.rest()), plain)
        return coded + lines * 50_000 + len(streams) * 50_000 + values * 100

    def decode(self, payload: memoryview, streams: Sequence[Stream]) -> list[Array]:
        """Decode the codebooks."""
        if not _fits(streams):
            raise CodecError("the codec codebooks is only for codebooks in blocks; the file is damaged")
        reader = ByteReader(payload, CodecError)
        methods = [reader.uint(LINE) for _ in streams]
        if any(m == LINE and s.shape[-1] > MOST_ENTRIES for m, s in zip(methods, streams, strict=True)):
            raise CodecError("a codebook is too large for its prediction method; the file is damaged")
        flat = self._planes.decode(reader.raw(reader.rest()), [_plain(stream) for stream in streams])
        return [restore(rest, s, m) for rest, s, m in zip(flat, streams, methods, strict=True)]


def _fits(streams: Sequence[Stream]) -> bool:
    """Return whether all streams are codebooks in blocks of one multi-byte type and begin with a whole codebook."""
    same = len({s.dtype for s in streams}) == 1 and all(s.codebooks and word_dtype(s).itemsize > 1 for s in streams)
    return same and all(s.start % s.shape[-1] == 0 for s in streams)


def _plain(stream: Stream) -> Stream:
    return Stream("values", stream.count, 0, _PLAIN[word_dtype(stream).itemsize])


def differences(part: Array, stream: Stream, method: int) -> Array:
    """Compute value - prediction, modulo the word size, folded: 0, -1, 1, -2, ... become 0, 1, 2, 3, ..."""
    table = _table(ascending(part, stream.dtype), stream)  # (codebooks, K)
    rest = table.copy()
    if method in (ABOVE, BOTH):
        rest[1:] -= table[:-1]
    if method == BEFORE:
        rest[:, 1:] -= table[:, :-1]
        rest[1:, 0] -= table[:-1, 0]
    if method == BOTH:
        rest[:, 1:] -= np.concatenate([table[:1, :-1], table[1:, :-1] - table[:-1, :-1]])
    if method == LINE:
        rest[1:, 0] -= table[:-1, 0]
        rest[:, 1:2] -= table[:, :1]
        if table.shape[1] > 2:
            rest[:, 2:] -= _line(table[:, 1:-1], table[:, :-2], stream.dtype)
    return fold(rest).reshape(-1)[: len(part)]


def restore(rest: Array, stream: Stream, method: int) -> Array:
    """Restore the values from the result of `differences`."""
    table = _table(unfold(rest), stream)  # (codebooks, K)
    if method in (ABOVE, BOTH):
        np.cumsum(table, axis=0, dtype=table.dtype, out=table)
    if method in (BEFORE, LINE):
        np.cumsum(table[:, 0], dtype=table.dtype, out=table[:, 0])
    if method in (BEFORE, BOTH):
        np.cumsum(table, axis=1, dtype=table.dtype, out=table)
    if method == LINE:
        table[:, 1:2] += table[:, :1]
        for column in range(2, table.shape[1]):
            table[:, column] += _line(table[:, column - 1], table[:, column - 2], stream.dtype)
    return descending(table.reshape(-1)[: len(rest)], stream.dtype)


def fold(rest: Array) -> Array:
    """Return differences, modulo the word size, as 0, 1, 2, 3, ... for 0, -1, 1, -2, ..."""
    half, one = rest.dtype.type(8 * rest.itemsize - 1), rest.dtype.type(1)
    folded: Array = rest << one ^ (~(rest >> half) + one)
    return folded


def unfold(folded: Array) -> Array:
    """Return the differences of `fold`."""
    one = folded.dtype.type(1)
    rest: Array = folded >> one ^ (~(folded & one) + one)
    return rest


def ascending(words: Array, dtype: int) -> Array:
    """Map words of a float type to integers in the order of the values; return a copy of words of other types."""
    if dtype not in FLOAT_IDS:
        return words.copy()
    sign = words.dtype.type(1 << 8 * words.itemsize - 1)
    return np.where(words & sign, ~words, words | sign)


def descending(words: Array, dtype: int) -> Array:
    """Map integers of `ascending` back to words."""
    if dtype not in FLOAT_IDS:
        return words
    sign = words.dtype.type(1 << 8 * words.itemsize - 1)
    return np.where(words & sign, words ^ sign, ~words)


def _table(words: Array, stream: Stream) -> Array:
    """Return the values as (codebooks, K); zeros fill up the last codebook if the chunk ends inside it."""
    k = stream.shape[-1]
    table = np.zeros(-(-len(words) // k) * k, words.dtype)
    table[: len(words)] = words
    return table.reshape(-1, k)


def _line(before: Array, earlier: Array, dtype: int) -> Array:
    """Predict 2 * before - earlier; float16 and float32 are calculated in binary64 and rounded, 0.0 if not finite."""
    if dtype not in _LINE_TYPES:
        told: Array = before * before.dtype.type(2) - earlier
        return told
    kind = _LINE_TYPES[dtype]
    with np.errstate(all="ignore"):
        near, far = (descending(w, dtype).view(kind).astype(np.float64) for w in (before, earlier))
        line = (2 * near - far).astype(kind)
    line[~np.isfinite(line)] = 0
    return ascending(np.ascontiguousarray(line).view(word_dtype(Stream("values", 0, 0, dtype))), dtype)


def _bits(rest: Array) -> float:
    """Estimate the bits of one difference under planes: the sum of the entropies of its bytes, on the first ones."""
    planes = rest[:_MOST_WORDS].view(np.uint8).reshape(-1, rest.itemsize)
    bits = 0.0
    for position in range(rest.itemsize):
        share = np.bincount(planes[:, position]) / max(len(planes), 1)
        bits -= float((share[share > 0] * np.log2(share[share > 0])).sum())
    return bits
