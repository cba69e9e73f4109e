"""Encode codebooks that are affine grids by their zero points and scales: x[k] = (k - zero point) * scale.

Weights that were quantized to integers with a scale for each block have such codebooks, of 16 or 256 values.
"""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qacomp.formats.bytestream import ByteReader, ByteWriter
from qacomp.formats.codecs.base import Array, Codec, Stream, register
from qacomp.formats.codecs.planes import Planes
from qacomp.formats.dtypes import BFLOAT16, FLOAT_IDS, bfloat16_from_float32, bfloat16_to_float32
from qacomp.formats.errors import CodecError

MOST_ENTRIES = 256
"""Most entries of a codebook, since a zero point is stored in a byte."""

_BFLOAT = 10
_TYPES: dict[int, np.dtype[Any]] = {9: np.dtype("<f2"), 11: np.dtype("<f4"), 12: np.dtype("<f8")}


@register
class Grids(Codec):
    """Encodes codebooks in blocks that are affine grids bit for bit; a stream must begin with a whole codebook."""

    id = 10
    name = "grids"
    kinds = ("values",)
    since = 2
    footprint = 32

    def __init__(self, planes: Codec | None = None) -> None:
        self._planes = planes or Planes()

    def without(self, names: Collection[str]) -> Codec:
        """Return the codec with planes that use none of these codecs."""
        return type(self)(self._planes.without(names))

    def encode(self, parts: Sequence[Array], streams: Sequence[Stream]) -> bytes | None:
        """Return all zero points and then all scales, each under planes; None if a codebook isn't a grid."""
        if not _fits(streams):
            return None
        found = [_grids(part, stream) for part, stream in zip(parts, streams, strict=True)]
        grids = [grid for grid in found if grid is not None]
        if len(grids) < len(found):
            return None
        zeros = self._coded([zero for zero, _ in grids], [_zeros(stream) for stream in streams])
        out = ByteWriter()
        out.uint(len(zeros))
        out.raw(zeros)
        out.raw(self._coded([scale for _, scale in grids], [_scales(stream) for stream in streams]))
        return bytes(out.buffer)

    def _coded(self, parts: Sequence[Array], streams: Sequence[Stream]) -> bytes:
        coded = self._planes.encode(parts, streams)
        assert coded is not None  # all streams have one type
        return coded

    def shares(self, streams: Sequence[Stream]) -> list[int] | None:
        """Return the codebooks of each stream: each takes a scale and a zero point, however many entries it has."""
        return [_scales(stream).count if stream.codebooks else stream.count for stream in streams]

    def work(self, payload: memoryview, streams: Sequence[Stream]) -> int:
        """Estimate the nanoseconds of decoding: the zero points and scales under planes, and the products."""
        if not _fits(streams):
            return super().work(payload, streams)
        reader, planes = ByteReader(payload, CodecError), self._planes
        coded = planes.work(reader.raw(reader.uint(len(payload))), [_zeros(stream) for stream in streams])
        coded += planes.work(reader.raw(reader.rest()), [_scales(stream) for stream in streams])
        return coded + len(streams) * 50_000 + sum(stream.count for stream in streams) * 30

    def decode(self, payload: memoryview, streams: Sequence[Stream]) -> list[Array]:
        """Decode the codebooks. Raises CodecError, also for a scale or a zero point that is out of range."""
        grids = self.read(payload, streams)
        return [_values(zero, scale, stream) for (zero, scale), stream in zip(grids, streams, strict=True)]

    def read(self, payload: memoryview, streams: Sequence[Stream]) -> list[tuple[Array, Array]]:
        """Return zero points (codebooks,) uint8 and scales (codebooks,) as words, of each stream. Raises CodecError."""
        if not _fits(streams):
            raise CodecError("the codec grids is used for other values than codebooks of floats; the file is damaged")
        reader = ByteReader(payload, CodecError)
        coded = reader.raw(reader.uint(len(payload)))
        zeros = self._planes.decode(coded, [_zeros(stream) for stream in streams])
        scales = self._planes.decode(reader.raw(reader.rest()), [_scales(stream) for stream in streams])
        for zero, scale, stream in zip(zeros, scales, streams, strict=True):
            numbers = numbers_of(scale, stream.dtype)
            if not (np.isfinite(numbers) & (numbers > 0)).all() or (zero >= stream.shape[-1]).any():
                raise CodecError("a codebook's scale or zero point is out of range; the file is damaged")
        return list(zip(zeros, scales, strict=True))


def _fits(streams: Sequence[Stream]) -> bool:
    """Return whether all streams are codebooks in blocks of 2 to 256 floats of one type and begin with a whole one."""
    same = len({s.dtype for s in streams}) == 1 and all(s.dtype in FLOAT_IDS and s.codebooks for s in streams)
    return same and all(2 <= s.shape[-1] <= MOST_ENTRIES and s.start % s.shape[-1] == 0 for s in streams)


def _zeros(stream: Stream) -> Stream:
    return Stream("values", -(-stream.count // stream.shape[-1]))


def _scales(stream: Stream) -> Stream:
    return Stream("values", -(-stream.count // stream.shape[-1]), 0, stream.dtype)


def _grids(part: Array, stream: Stream) -> tuple[Array, Array] | None:
    """Return zero points (codebooks,) uint8 and scales (codebooks,) as words; None if a codebook isn't a grid."""
    k = stream.shape[-1]
    values = numbers_of(part, stream.dtype)
    first, second = values[::k], values[1::k]
    with np.errstate(all="ignore"):
        if len(second) < len(first):  # a chunk ends after a codebook's first value: choose any grid that begins with it
            second = np.append(second, first.dtype.type(first[-1] == 0))
        scale = second - first  # (codebooks,)
        zero = np.rint(-first / scale)
        if not (np.isfinite(scale) & (scale > 0) & (zero >= 0) & (zero < k)).all():
            return None
    points, scales = zero.astype(np.uint8), _words(scale, stream.dtype)
    return (points, scales) if np.array_equal(_values(points, scales, stream), part) else None


def _values(zeros: Array, scales: Array, stream: Stream) -> Array:
    """Return the words of all codebooks; for types below float32 the products are exact before they are rounded."""
    scale = numbers_of(scales, stream.dtype)
    steps = np.arange(stream.shape[-1], dtype=scale.dtype) - zeros.astype(scale.dtype)[:, None]  # (codebooks, K)
    with np.errstate(over="ignore", under="ignore"):
        values = steps * scale[:, None]
    return _words(values.reshape(-1)[: stream.count], stream.dtype)


def numbers_of(words: Array, dtype: int) -> NDArray[np.floating]:
    """Return the numbers of words of a float type, as float64 for float64 and as float32 for all others."""
    if dtype == _BFLOAT:
        return bfloat16_to_float32(np.ascontiguousarray(words).view(BFLOAT16))
    values: NDArray[np.floating] = words.view(_TYPES[dtype])
    with np.errstate(invalid="ignore"):  # signalling NaN
        return values.astype(np.promote_types(values.dtype, np.float32))


def _words(values: NDArray[np.floating], dtype: int) -> Array:
    """Return numbers as words of a float type, rounded to nearest, ties to even."""
    if dtype == _BFLOAT:
        return bfloat16_from_float32(values.astype(np.float32)).view("<u2")
    with np.errstate(over="ignore", under="ignore"):
        typed = np.ascontiguousarray(values.astype(_TYPES[dtype]))
    return typed.view(f"<u{typed.itemsize}")
