"""Encode values losslessly as byte planes: exponents apart from mantissas, each plane entropy-coded if it pays off.

After ZipNN (Hershcovitch et al. 2024, arXiv:2411.05239) and DFloat11 (Zhang et al. 2025, arXiv:2504.11651): trained
weights use few exponents, so the exponents' plane is short; mantissas are nearly random and stay raw.
"""

from collections.abc import Collection, Sequence

import numpy as np

from qacomp.formats.bytestream import ByteReader, ByteWriter
from qacomp.formats.codecs.base import Array, Codec, Stream, register, split, word_dtype
from qacomp.formats.codecs.rans import Rans
from qacomp.formats.codecs.zstd import compress, decompress
from qacomp.formats.dtypes import FLOAT_IDS
from qacomp.formats.errors import CodecError

RAW_FORM, RANS_FORM, ZSTD_FORM = 0, 1, 2
_LANE_SHARE = 0.005  # part of a long plane's payload that lanes may take
_LONG = 1 << 16  # bytes from which a plane counts as long
_NOISE_BITS = 7.9  # bits a byte above which a long plane is stored raw unless it repeats itself
_REPEATS = 0.97  # zstd is tried on a long plane if its fastest level gets below this part of the best form


def encode_plane(plane: Array, repeats: bool = True) -> tuple[int, bytes]:
    """Return (form, payload) of one byte plane: with rANS or zstd (if `repeats`) if that saves bytes, else raw."""
    best = (RAW_FORM, plane.tobytes())
    share = np.bincount(plane, minlength=256) / max(len(plane), 1)
    noise = float(-(share[share > 0] * np.log2(share[share > 0])).sum()) > _NOISE_BITS
    if not (noise and len(plane) >= _LONG):
        coded = Rans(_LANE_SHARE if len(plane) >= _LONG else None).encode([plane], [Stream("indices", len(plane), 256)])
        if coded is not None and len(coded) < len(best[1]):
            best = (RANS_FORM, coded)
    if repeats and (len(plane) < _LONG or len(compress(plane.tobytes(), 1)) < _REPEATS * len(best[1])):
        repeated = compress(plane.tobytes())
        if len(repeated) < len(best[1]):
            best = (ZSTD_FORM, repeated)
    return best


def byte_planes(parts: Sequence[Array], streams: Sequence[Stream]) -> list[Array]:
    """Return the planes (n,) of the words of all streams, of one type, the highest bytes first."""
    words: Array = np.concatenate(parts) if len(parts) > 1 else parts[0]
    words = np.ascontiguousarray(words, dtype=word_dtype(streams[0]))
    size = words.itemsize
    if streams[0].dtype in FLOAT_IDS:
        words = words << 1 | words >> (8 * size - 1)
    planes = words.view(np.uint8).reshape(-1, size)
    return [np.ascontiguousarray(planes[:, position]) for position in range(size - 1, -1, -1)]


@register
class Planes(Codec):
    """Encodes the words of all streams, of one size, as byte planes, the highest first.

    Words of floats are rotated left by one bit before, so that the sign doesn't share a plane with the exponent.
    """

    id = 5
    name = "planes"
    kinds = ("values",)
    footprint = 16

    def __init__(self, repeats: bool = True) -> None:
        self._repeats = repeats  # whether planes may be stored with zstd

    def without(self, names: Collection[str]) -> Codec:
        """Return the codec, without planes under zstd if that is among the names."""
        return Planes(repeats=False) if "zstd" in names else self

    def encode(self, parts: Sequence[Array], streams: Sequence[Stream]) -> bytes | None:
        """Return the planes, each raw, with rANS or with zstd; None for streams of different types."""
        if len({s.dtype for s in streams}) != 1:
            return None
        out = ByteWriter()
        for plane in byte_planes(parts, streams):
            form, payload = encode_plane(plane, self._repeats)
            out.uint(form)
            if form != RAW_FORM:
                out.uint(len(payload))
            out.raw(payload)
        return bytes(out.buffer)

    def work(self, payload: memoryview, streams: Sequence[Stream]) -> int:
        """Estimate the nanoseconds of decoding: those of the planes under rANS; other planes take little."""
        total, reader = super().work(payload, streams), ByteReader(payload, CodecError)
        count = sum(stream.count for stream in streams)
        for _ in range(word_dtype(streams[0]).itemsize if streams else 0):
            form = reader.uint(ZSTD_FORM)
            coded = reader.raw(count if form == RAW_FORM else reader.uint(len(payload)))
            total += Rans().work(coded, [Stream("indices", count, 256)]) if form == RANS_FORM else 4 * count
        return total

    def decode(self, payload: memoryview, streams: Sequence[Stream]) -> list[Array]:
        """Decode the planes and join them to words. Raises CodecError."""
        if len({s.dtype for s in streams}) != 1:
            raise CodecError("values of different types are in one section of planes; the file is damaged")
        dtype, count = word_dtype(streams[0]), sum(stream.count for stream in streams)
        reader = ByteReader(payload, CodecError)
        words = np.empty(count, dtype)
        planes = words.view(np.uint8).reshape(-1, dtype.itemsize)
        for position in range(dtype.itemsize - 1, -1, -1):
            form = reader.uint(ZSTD_FORM)
            coded = reader.raw(count if form == RAW_FORM else reader.uint(len(payload)))
            if form == RANS_FORM:
                planes[:, position] = Rans().decode(coded, [Stream("indices", count, 256)])[0]
            else:
                planes[:, position] = np.frombuffer(decompress(coded, count) if form == ZSTD_FORM else coded, np.uint8)
        reader.end()
        if streams[0].dtype in FLOAT_IDS:
            sign = words << (8 * dtype.itemsize - 1)
            words >>= 1
            words |= sign
        return split(words, streams)
