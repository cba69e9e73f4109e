"""Hand out a tensor as it is stored, its sections checked but not decoded, for a decoder elsewhere, as on a GPU."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from qacomp.formats import layout
from qacomp.formats.codecs import Stream
from qacomp.formats.codecs.base import Array, codec_of
from qacomp.formats.errors import CodecError
from qacomp.formats.records import INDEX_CHUNK, SHARED, VALUE_CHUNK, TensorRecord
from qacomp.formats.sections import Sections
from qacomp.formats.tensor_decoder import TensorDecoder


@dataclass(frozen=True)
class CodedSection:
    """One stored section of one stream. codec: id; where: file and section, for messages."""

    codec: int
    payload: memoryview
    stream: Stream
    where: str

    def decode(self) -> Array:
        """Decode it with numpy: flat words. Raises CodecError."""
        try:
            return codec_of(self.codec).decode(self.payload, [self.stream])[0]
        except CodecError as error:
            raise CodecError(f"{self.where}: {error}") from error


@dataclass(frozen=True)
class CodedTensor:
    """A large shared tensor as it is stored: the sections of its indices, in order.

    level: of the codebook to look up; books: the sections of codebooks that have sections of their own, else none.
    """

    record: TensorRecord
    level: int
    indices: Sequence[CodedSection]
    books: Sequence[CodedSection]
    decoder: TensorDecoder
    number: int

    def book(self) -> NDArray[Any]:
        """Decode the codebook with numpy: (K,), or (..., K) for codebooks in blocks. Raises CodecError."""
        return self.decoder.book(self.number, self.level)


def coded_tensor(decoder: TensorDecoder, number: int, level: int) -> CodedTensor | None:
    """Return a tensor's sections, each within the limits and with the right checksum. Raises a FormatError.

    None for a dense tensor, for a small one, whose indices share a section, and for levels that are stored one by one.
    """
    record = decoder.header.tensors[number]
    if record.kind != SHARED or record.group or record.stored_levels > 1:
        return None
    log2, found = decoder.header.chunk_log2, decoder.sections
    indices = [
        _section(found, found.place(INDEX_CHUNK, 0, number, chunk), layout.index_stream(record, 0, start, stop))
        for chunk, (start, stop) in enumerate(layout.chunk_ranges(record.count, log2))
    ]
    books = []
    if not record.book_group:
        values = math.prod(record.books) * record.levels[0]
        books = [
            _section(found, found.place(VALUE_CHUNK, 0, number, chunk), layout.book_stream(record, 0, start, stop))
            for chunk, (start, stop) in enumerate(layout.chunk_ranges(values, log2))
        ]
    return CodedTensor(record, level, indices, books, decoder, number)


def _section(sections: Sections, place: int, stream: Stream) -> CodedSection:
    payload = sections.payload(place, [stream])
    return CodedSection(sections.records[place].codec, payload, stream, f"{sections.source}: section {place}")
