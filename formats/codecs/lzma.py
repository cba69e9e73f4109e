"""Compress raw words with LZMA1 without a header: smaller than zstd on graphs and metadata, but slower."""

import lzma
from collections.abc import Sequence

from qacomp.formats.codecs.base import Array, Codec, Stream, register, word_dtype
from qacomp.formats.codecs.raw import Raw
from qacomp.formats.errors import CodecError

LARGEST = 4 << 20
_FILTERS = [
    {"id": lzma.FILTER_LZMA1, "dict_size": LARGEST, "lc": 3, "lp": 0, "pb": 0, "preset": 9 | lzma.PRESET_EXTREME}
]


@register
class Lzma(Codec):
    """Compresses all words to one LZMA1 stream (lc=3, lp=0, pb=0, 4 MiB dictionary, end marker); at most 4 MiB."""

    id = 7
    name = "lzma"
    kinds = ("indices", "values")
    repetitions = True
    footprint = 1

    def encode(self, parts: Sequence[Array], streams: Sequence[Stream]) -> bytes | None:
        """Return the compressed words, or None if they are more than 4 MiB."""
        data = Raw().encode(parts, streams) or b""
        if len(data) > LARGEST:
            return None
        return lzma.compress(data, format=lzma.FORMAT_RAW, filters=_FILTERS)

    def work(self, payload: memoryview, streams: Sequence[Stream]) -> int:
        """Estimate the nanoseconds of decoding: about 100 for a stored byte."""
        return super().work(payload, streams) + 100 * len(payload)

    def decode(self, payload: memoryview, streams: Sequence[Stream]) -> list[Array]:
        """Decompress to exactly the size of the streams. Raises CodecError for any other size."""
        size = sum(stream.count * word_dtype(stream).itemsize for stream in streams)
        if size > LARGEST:
            raise CodecError("an LZMA section is larger than the format allows; the file is damaged")
        decoder = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=_FILTERS)
        try:
            data = decoder.decompress(payload, size + 1)
        except lzma.LZMAError as error:
            raise CodecError(f"an LZMA stream is damaged ({error}); fetch the file again") from error
        if len(data) != size or not decoder.eof or decoder.unused_data:
            raise CodecError("an LZMA stream has another length than its section; the file is damaged")
        return Raw().decode(memoryview(data), streams)
