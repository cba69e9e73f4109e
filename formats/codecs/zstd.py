"""Compress raw words with Zstandard: small for repeated structure, text and graphs."""

from collections.abc import Sequence

import zstandard

from qacomp.formats.codecs.base import Array, Codec, Stream, register, word_dtype
from qacomp.formats.codecs.raw import Raw
from qacomp.formats.errors import CodecError

LEVEL = 19
_FAST_FROM = 8 << 20  # bytes from which _FAST_LEVEL is used
_FAST_LEVEL = 6
_QUICK_LEVEL = 3
_ESTIMATED_FROM, _SAMPLE = 1 << 20, 1 << 17  # bytes from which an estimate is worth its time, and of its piece
_HOPELESS = 1.05  # an estimate above the best codec by more than this ends the trial; estimates are 4 % off at most
_PIECE = 1 << 20  # bytes decompressed at once


def compress(data: bytes, level: int | None = None) -> bytes:
    """Compress to a zstd frame without magic number, checksum and content size, which the container has itself."""
    level = level or (LEVEL if len(data) < _FAST_FROM else _FAST_LEVEL)
    parameters = zstandard.ZstdCompressionParameters.from_level(
        level, source_size=len(data), format=zstandard.FORMAT_ZSTD1_MAGICLESS, write_content_size=0, write_checksum=0
    )
    return zstandard.ZstdCompressor(compression_params=parameters).compress(data)


def decompress(data: memoryview, size: int) -> bytes:
    """Decompress one whole frame of exactly `size` bytes; raises CodecError for any other size."""
    decoder = zstandard.ZstdDecompressor(format=zstandard.FORMAT_ZSTD1_MAGICLESS, max_window_size=1 << 27)
    result = bytearray()
    try:
        with decoder.stream_reader(data) as reader:
            while len(result) <= size and (part := reader.read(min(size + 1 - len(result), _PIECE))):
                result += part  # piece by piece, so that memory grows with the data, not with the claimed size
    except zstandard.ZstdError as error:
        raise CodecError(f"a zstd frame is damaged ({error}); fetch the file again") from error
    if len(result) != size:
        raise CodecError("a zstd frame doesn't hold what the header says; the file is damaged")
    return bytes(result)


def _estimate(data: bytes) -> float:
    """Estimate the bytes of a frame: those at the fast level, times what the slow one saves on a piece.

    The fast level finds repetitions in all of the data, in a hundredth of the time.
    """
    piece = data[:_SAMPLE]
    return len(compress(data, _QUICK_LEVEL)) * len(compress(piece, LEVEL)) / len(compress(piece, _QUICK_LEVEL))


@register
class Zstd(Codec):
    """Compresses the words of all streams to one frame."""

    id = 6
    name = "zstd"
    kinds = ("indices", "values")
    repetitions = True
    footprint = 1

    def encode(self, parts: Sequence[Array], streams: Sequence[Stream]) -> bytes | None:
        """Return the frame."""
        return compress(Raw().encode(parts, streams) or b"")

    def encode_below(self, parts: Sequence[Array], streams: Sequence[Stream], most: int) -> bytes | None:
        """Return the frame, or None if the fast level on all words and a piece of them show that it is above `most`."""
        data = Raw().encode(parts, streams) or b""
        if _ESTIMATED_FROM <= len(data) < _FAST_FROM and _estimate(data) > _HOPELESS * most:
            return None
        return compress(data)

    def decode(self, payload: memoryview, streams: Sequence[Stream]) -> list[Array]:
        """Decompress to exactly the size of the streams. Raises CodecError."""
        size = sum(stream.count * word_dtype(stream).itemsize for stream in streams)
        return Raw().decode(memoryview(decompress(payload, size)), streams)
