"""Zstandard over the raw words: for repeated structure, text and graphs."""

from collections.abc import Sequence

import zstandard

from qacomp.formats.codecs.base import Array, Codec, Stream, register, word_dtype
from qacomp.formats.codecs.raw import Raw
from qacomp.formats.errors import CodecError

LEVEL = 19
_FAST_FROM = 8 << 20
_FAST_LEVEL = 6
_PIECE = 1 << 20


def compress(data: bytes, level: int | None = None) -> bytes:
    """Compress to a zstd frame without magic, checksum and content size: the container has all three."""
    level = level or (LEVEL if len(data) < _FAST_FROM else _FAST_LEVEL)
    parameters = zstandard.ZstdCompressionParameters.from_level(
        level, source_size=len(data), format=zstandard.FORMAT_ZSTD1_MAGICLESS, write_content_size=0, write_checksum=0
    )
    return zstandard.ZstdCompressor(compression_params=parameters).compress(data)


def decompress(data: memoryview, size: int) -> bytes:
    """Decompress exactly `size` bytes from one whole frame; else raise CodecError, and never allocate more."""
    decoder = zstandard.ZstdDecompressor(format=zstandard.FORMAT_ZSTD1_MAGICLESS, max_window_size=1 << 27)
    result = bytearray()
    try:
        with decoder.stream_reader(data) as reader:
            while len(result) <= size and (part := reader.read(min(size + 1 - len(result), _PIECE))):
                result += part  # piece by piece: memory follows what is there, not what is claimed
    except zstandard.ZstdError as error:
        raise CodecError(f"a zstd frame is damaged ({error}); fetch the file again") from error
    if len(result) != size:
        raise CodecError("a zstd frame doesn't hold what the header says; the file is damaged")
    return bytes(result)


@register
class Zstd(Codec):
    """One frame over all streams' words."""

    id = 6
    name = "zstd"
    kinds = ("indices", "values")
    footprint = 1

    def encode(self, parts: Sequence[Array], streams: Sequence[Stream]) -> bytes | None:
        """Encode one frame."""
        return compress(Raw().encode(parts, streams) or b"")

    def decode(self, payload: memoryview, streams: Sequence[Stream]) -> list[Array]:
        """Decompress to the streams' exact size."""
        size = sum(stream.count * word_dtype(stream).itemsize for stream in streams)
        return Raw().decode(memoryview(decompress(payload, size)), streams)
