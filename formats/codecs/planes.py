"""Lossless float planes: sign and exponent apart from the mantissa, byte by byte, each entropy-coded where it pays.

After ZipNN (Hershcovitch et al. 2024, arXiv:2411.05239) and DFloat11 (Zhang et al. 2025, arXiv:2504.11651): trained
weights use few exponents, so that plane is short; mantissas are nearly random and stay as they are.
"""

from collections.abc import Sequence

import numpy as np

from qacomp.formats.bytestream import ByteReader, ByteWriter
from qacomp.formats.codecs.base import Array, Codec, Stream, register, split, word_dtype
from qacomp.formats.codecs.rans import Rans
from qacomp.formats.dtypes import FLOAT_IDS
from qacomp.formats.errors import CodecError

_RAW, _CODED = 0, 1


@register
class Planes(Codec):
    """Words of all streams (one size) as byte planes, the highest first; floats are rotated left by one bit before,
    which sets the exponent's highest bits apart from the sign."""

    id = 5
    name = "planes"
    kinds = ("values",)

    def encode(self, parts: Sequence[Array], streams: Sequence[Stream]) -> bytes | None:
        """The planes, each raw or with rANS; None for streams of different types."""
        if len({s.dtype for s in streams}) != 1:
            return None
        words: Array = np.concatenate(parts) if len(parts) > 1 else parts[0]
        words = np.ascontiguousarray(words, dtype=word_dtype(streams[0]))
        size = words.itemsize
        if streams[0].dtype in FLOAT_IDS:
            words = words << 1 | words >> (8 * size - 1)
        planes = words.view(np.uint8).reshape(-1, size)
        out = ByteWriter()
        for position in range(size - 1, -1, -1):
            plane = np.ascontiguousarray(planes[:, position])
            stream = Stream("indices", len(plane), 256)
            coded = Rans().encode([plane], [stream]) or b""
            if len(coded) < len(plane):
                out.uint(_CODED)
                out.uint(len(coded))
                out.raw(coded)
            else:
                out.uint(_RAW)
                out.raw(plane.tobytes())
        return bytes(out.buffer)

    def decode(self, payload: memoryview, streams: Sequence[Stream]) -> list[Array]:
        """Joins the planes again."""
        if len({s.dtype for s in streams}) != 1:
            raise CodecError("streams of different types share planes; the file is damaged")
        dtype, count = word_dtype(streams[0]), sum(stream.count for stream in streams)
        reader = ByteReader(payload, CodecError)
        words = np.empty(count, dtype)
        planes = words.view(np.uint8).reshape(-1, dtype.itemsize)
        for position in range(dtype.itemsize - 1, -1, -1):
            if reader.uint(_CODED) == _CODED:
                coded = reader.raw(reader.uint(len(payload)))
                planes[:, position] = Rans().decode(coded, [Stream("indices", count, 256)])[0]
            else:
                planes[:, position] = np.frombuffer(reader.raw(count), np.uint8)
        reader.end()
        if streams[0].dtype in FLOAT_IDS:
            words = words >> 1 | words << (8 * dtype.itemsize - 1)
        return split(words, streams)
