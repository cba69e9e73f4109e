"""Compress short texts, such as metadata and graphs, with DEFLATE from a dictionary that every reader has.

A short text has nearly no repetitions of its own; most of what stands in it stands in those of all other files too.
"""

import zlib
from collections.abc import Sequence

import numpy as np

from qacomp.formats.codecs.base import Array, Codec, Stream, register
from qacomp.formats.codecs.dictionary import DICTIONARY
from qacomp.formats.errors import CodecError

MOST_BYTES = 1 << 20
"""Most bytes of all streams; what is longer has repetitions of its own, for which other codecs look farther back."""

_BYTE = 1  # the element type uint8
_RAW = -15  # zlib's number for DEFLATE without a header, with the largest window
_PIECE = 1 << 16  # bytes decompressed at once


@register
class Deflate(Codec):
    """Compresses the bytes of all streams to one DEFLATE stream (RFC 1951) that may refer to the dictionary."""

    id = 11
    name = "deflate"
    kinds = ("values",)
    since = 3
    footprint = 1

    def encode(self, parts: Sequence[Array], streams: Sequence[Stream]) -> bytes | None:
        """Return the DEFLATE stream; None for other values than bytes, and for more than MOST_BYTES of them."""
        if not _fits(streams):
            return None
        coder = zlib.compressobj(9, zlib.DEFLATED, _RAW, 9, zlib.Z_DEFAULT_STRATEGY, DICTIONARY)
        return b"".join(coder.compress(part.tobytes()) for part in parts) + coder.flush()

    def decode(self, payload: memoryview, streams: Sequence[Stream]) -> list[Array]:
        """Decompress to exactly the size of the streams. Raises CodecError."""
        if not _fits(streams):
            raise CodecError("the codec deflate is used for other values than a few bytes; the file is damaged")
        data = _decompress(bytes(payload), sum(stream.count for stream in streams))
        found, start = [], 0
        for stream in streams:
            found.append(np.frombuffer(data, np.uint8, stream.count, start))
            start += stream.count
        return found


def _fits(streams: Sequence[Stream]) -> bool:
    return all(s.dtype == _BYTE for s in streams) and sum(s.count for s in streams) <= MOST_BYTES


def _decompress(rest: bytes, size: int) -> bytes:
    decoder, result = zlib.decompressobj(_RAW, DICTIONARY), bytearray()
    try:
        while len(result) <= size and not decoder.eof:
            # piece by piece, so that memory grows with the data, not with the claimed size
            part = decoder.decompress(rest, min(size + 1 - len(result), _PIECE))
            rest = decoder.unconsumed_tail
            result += part
            if not part and not rest:
                break
    except zlib.error as error:
        raise CodecError(f"a DEFLATE stream is damaged ({error}); fetch the file again") from error
    if len(result) != size or not decoder.eof or decoder.unused_data:
        raise CodecError("a DEFLATE stream doesn't hold what the header says; the file is damaged")
    return bytes(result)
