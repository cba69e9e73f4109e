"""Decode tensors: values, codebooks and indices, from the groups and chunks that hold them."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qacomp.formats import blocks, layout
from qacomp.formats.codecs import CODECS, Stream
from qacomp.formats.codecs.base import Array
from qacomp.formats.dtypes import BOOL_ID, dtype_of
from qacomp.formats.errors import CodecError
from qacomp.formats.inventory import Inventory
from qacomp.formats.parallel import run, shared_empty
from qacomp.formats.records import INDEX_CHUNK, INDICES, VALUE_CHUNK, VALUES, Header, TensorRecord
from qacomp.formats.sections import Job, Sections

_BATCH = 1 << 20
"""Most values of the sections that are decoded together; larger sections gain nothing by company."""
_PIECE = 1 << 15  # values looked up at once, so few that the temporary arrays stay in the cache


class TensorDecoder:
    """Decodes tensors by the number of their record (dense or shared), large ones on up to `threads` processes."""

    def __init__(self, header: Header, sections: Sections, inventory: Inventory, threads: int) -> None:
        self.header = header
        self.sections = sections
        self.inventory = inventory
        self.members = inventory.members
        self.threads = threads

    def read_ahead(self) -> None:
        """Prepare for reading all tensors: small sections of indices are decoded together, once one is needed."""
        batches: dict[int, list[Job]] = {}
        room: dict[int, int] = {}
        for (kind, level, owner, chunk), place in self.sections.places.items():
            number = self.sections.records[place].codec
            if kind not in (INDICES, INDEX_CHUNK) or level or not getattr(CODECS.get(number), "together", False):
                continue
            streams = self._coarsest(kind, owner, chunk)
            count = sum(stream.count for stream in streams)
            if count > room.get(number, 0):
                self._expect(batches.pop(number, []))
                room[number] = _BATCH
            batches.setdefault(number, []).append((place, streams))
            room[number] -= count
        for batch in batches.values():
            self._expect(batch)

    def _expect(self, batch: Sequence[Job]) -> None:
        if len(batch) > 1:
            self.sections.expect(batch)

    def _coarsest(self, kind: int, owner: int, chunk: int) -> list[Stream]:
        """Return the streams at level 0 of an index group, or of a chunk of a tensor's indices."""
        tensors = self.header.tensors
        if kind == INDICES:
            return [layout.index_stream(tensors[n], 0, 0, tensors[n].count) for n in self.members.indices[owner]]
        start, stop = layout.chunk_ranges(tensors[owner].count, self.header.chunk_log2)[chunk]
        return [layout.index_stream(tensors[owner], 0, start, stop)]

    def values(self, number: int) -> NDArray[Any]:
        """Decode a dense tensor's values, flat."""
        record = self.header.tensors[number]
        if record.group:
            return self._typed(self._group_values(record.group - 1, number, -1), record)
        out = shared_empty((record.count,), dtype_of(record.dtype))

        def fill(start: int, stop: int, chunk: int) -> None:
            out[start:stop] = self.chunk_values(number, chunk, start, stop)

        self._each_chunk(number, fill)
        return out

    def chunk_values(self, number: int, chunk: int, start: int, stop: int) -> NDArray[Any]:
        """Decode one chunk of a dense tensor: its values [start, stop)."""
        record = self.header.tensors[number]
        stream = Stream("values", stop - start, 0, record.stored, record.shape, start)
        words = self.sections.decode(self.sections.place(VALUE_CHUNK, 0, number, chunk), [stream])[0]
        return self._typed(words, record)

    def mapped(self, number: int) -> NDArray[Any] | None:
        """Return a tensor's values, flat, as a view of the file if its chunks are raw and adjacent; else None."""
        record, sections = self.header.tensors[number], self.sections
        ranges = layout.chunk_ranges(record.count, self.header.chunk_log2)
        if not isinstance(sections.data, memoryview):  # bytes that are fetched aren't mapped
            return None
        if record.group or not ranges or record.stored != record.dtype or dtype_of(record.stored) == np.bool_:
            return None
        places = [sections.place(VALUE_CHUNK, 0, number, chunk) for chunk in range(len(ranges))]
        item = dtype_of(record.stored).itemsize
        for place, (start, stop) in zip(places, ranges, strict=True):
            section = sections.records[place]
            if section.codec != layout.RAW_ID or section.stored_bytes != (stop - start) * item:
                return None  # `values` decodes other codecs, and raises the error for a chunk of the wrong size
        parts = [sections.stored(place) for place in places]
        begin, size = sections.offsets[places[0]], sum(len(part) for part in parts)
        if sections.offsets[places[-1]] + len(parts[-1]) != begin + size:
            return None
        return np.frombuffer(sections.data[begin : begin + size], dtype_of(record.stored))

    def book(self, number: int, level: int) -> NDArray[Any]:
        """Decode a shared tensor's codebook of a level: (K,), or (..., K) for codebooks in blocks."""
        record = self.header.tensors[number]
        if not record.book_group:
            return self._book_part(number, 0, math.prod(record.books)).reshape(*record.books, record.levels[0])
        flat = self._typed(self._group_values(record.book_group - 1, number, level), record)
        return flat.reshape(*record.books, record.levels[level])

    def weights(self, number: int, level: int) -> NDArray[Any]:
        """Decode a shared tensor's dense values at a level, flat."""
        record = self.header.tensors[number]
        book = self.book(number, level)
        if record.group:
            return _lookup(record, book, self.indices(number, level))
        out = shared_empty((record.count,), book.dtype)

        def fill(start: int, stop: int, chunk: int) -> None:
            indices = self.chunk_indices(number, chunk, start, stop, level)
            _lookup(record, book, indices, start, out=out[start:stop])

        self._each_chunk(number, fill)
        return out

    def chunk_weights(self, number: int, chunk: int, start: int, stop: int, level: int) -> NDArray[Any]:
        """Decode one chunk of a shared tensor at a level: its dense values [start, stop)."""
        record = self.header.tensors[number]
        indices = self.chunk_indices(number, chunk, start, stop, level)
        if record.blocks is None or record.book_group:
            return _lookup(record, self.book(number, level), indices, start)
        first, last = blocks.span(record.shape, record.blocks, start, stop)
        part = self._book_part(number, first, last)
        return _lookup(record, part, indices, start, first)

    def indices(self, number: int, level: int) -> Array:
        """Decode a shared tensor's indices at a level, flat: uint8, or uint16 if the codebook has over 256 values."""
        record = self.header.tensors[number]
        dtype = _index_dtype(record, level)
        if record.group:
            found = self._group_indices(number, 0 if record.at_once else level)
            return coarser(found, record, level) if record.at_once else found.astype(dtype)
        out = shared_empty((record.count,), dtype)

        def fill(start: int, stop: int, chunk: int) -> None:
            out[start:stop] = self.chunk_indices(number, chunk, start, stop, level)

        self._each_chunk(number, fill)
        return out

    def chunk_indices(self, number: int, chunk: int, start: int, stop: int, top: int) -> Array:
        """Decode one chunk of a shared tensor's indices at level `top`: the indices [start, stop)."""
        record = self.header.tensors[number]
        indices: Array = np.zeros(0, np.uint8)
        for level in range(1 if record.at_once else top + 1):
            stream = layout.index_stream(record, level, start, stop)
            if level:
                stream = replace(stream, parents=indices)
            part = self.sections.decode(self.sections.place(INDEX_CHUNK, level, number, chunk), [stream])[0]
            indices = join(part, stream)
        return coarser(indices, record, top) if record.at_once else indices

    def _book_part(self, number: int, first: int, last: int) -> NDArray[Any]:
        """Decode the codebooks [first, last) of a tensor whose codebooks are stored in chunks: (last - first, K)."""
        record, k = self.header.tensors[number], self.header.tensors[number].levels[0]
        out = shared_empty(((last - first) * k,), dtype_of(record.dtype))
        low, high = first * k, last * k
        for chunk, (start, stop) in enumerate(layout.chunk_ranges(math.prod(record.books) * k, self.header.chunk_log2)):
            if start < high and stop > low:
                place = self.sections.place(VALUE_CHUNK, 0, number, chunk)
                words = self.sections.decode(place, [layout.book_stream(record, 0, start, stop)])[0]
                begin, end = max(start, low), min(stop, high)
                out[begin - low : end - low] = self._typed(words[begin - start : end - start], record)
        return out.reshape(last - first, k)

    def _group_values(self, group: int, number: int, level: int) -> Array:
        place = self.sections.place(VALUES, 0, group)

        def decode() -> list[Array]:
            return self.sections.decode(place, self.members.value_streams(self.header.tensors, group))

        return self.sections.group(place, decode)[self.members.value_positions[number, level]]

    def _group_indices(self, number: int, top: int) -> Array:
        """Decode the indices of a tensor in an index group, at level `top` or its finest level if that is coarser."""
        record = self.header.tensors[number]
        parts = self.group_indices(record.group - 1, min(top, record.stored_levels - 1))
        return parts[self.members.index_positions[number]]

    def group_indices(self, group: int, top: int) -> list[Array]:
        """Decode the indices of all tensors of a group, each at level `top` or at its finest level if it has fewer."""
        parts: list[Array] = []
        for level in range(top + 1):
            place = self.sections.place(INDICES, level, group)
            parts = self.sections.group(place, partial(self._decode_indices, place, group, level, parts))
        return parts

    def _decode_indices(self, place: int, group: int, level: int, above: Sequence[Array]) -> list[Array]:
        """Decode the indices of all tensors of a group, at a level or their finest; above: indices at level - 1."""
        tensors, positions = self.header.tensors, self.members.index_positions
        numbers = self.members.index_members(tensors, group, level)
        streams = [layout.index_stream(tensors[n], level, 0, tensors[n].count) for n in numbers]
        if level:
            streams = [replace(s, parents=above[positions[n]]) for s, n in zip(streams, numbers, strict=True)]
        decoded = [join(p, s) for p, s in zip(self.sections.decode(place, streams), streams, strict=True)]
        parts = list(above) if level else decoded
        for n, part in zip(numbers, decoded, strict=True):
            parts[positions[n]] = part
        return parts

    def _each_chunk(self, number: int, fill: Callable[[int, int, int], object]) -> None:
        """Call fill(start, stop, chunk) for every chunk of a tensor, on up to `threads` processes."""
        ranges = layout.chunk_ranges(self.header.tensors[number].count, self.header.chunk_log2)
        run(len(ranges), self.threads, lambda chunk: fill(*ranges[chunk], chunk))

    def _typed(self, words: Array, record: TensorRecord) -> NDArray[Any]:
        """Return stored words as a new, writable array of the tensor's dtype. Raises CodecError for a bool above 1."""
        stored = words.view(dtype_of(record.stored))
        if record.dtype == BOOL_ID and words.size and int(words.max()) > 1:
            name = record.name[:80]
            raise CodecError(
                f"{self.sections.source}: the bool tensor {name!r} has a truth value that is neither 0 nor 1; the file"
                " is damaged"
            )
        if record.stored == record.dtype:
            return stored.copy()
        return stored.astype(dtype_of(record.dtype))


def _lookup(
    record: TensorRecord,
    book: NDArray[Any],
    indices: Array,
    start: int = 0,
    first: int = 0,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Return the values of flat indices; start: position of the first in the tensor; first: number of book[0]."""
    if record.blocks is None:
        out = np.empty(len(indices), book.dtype) if out is None else out
        for low in range(0, len(indices), _PIECE):  # `take` converts its indices to 8 bytes each: piece by piece
            book.take(indices[low : low + _PIECE], out=out[low : low + _PIECE], mode="clip")
        return out
    return blocks.lookup(book, indices, blocks.Division(record.shape, record.blocks), start, first, out)


def _index_dtype(record: TensorRecord, level: int) -> "np.dtype[np.unsignedinteger]":
    return np.dtype("u1") if record.levels[level] <= 256 else np.dtype("<u2")


def coarser(finest: Array, record: TensorRecord, level: int) -> Array:
    """Return the indices of a coarser level, given those of the finest one."""
    found: Array = parents_at(record, level).astype(_index_dtype(record, level)).take(finest)
    return found


def parents_at(record: TensorRecord, level: int) -> NDArray[np.integer]:
    """Return the entry of a level that each entry of the finest codebook belongs to, (K of the finest level,)."""
    parents: NDArray[np.integer] = np.arange(record.levels[-1])
    for children in reversed(record.children[level:]):
        parents = np.repeat(np.arange(len(children)), children).take(parents)
    return parents


def join(part: Array, stream: Stream) -> Array:
    """Return the indices of a level from its symbols and the parents; raises CodecError for a child that is missing."""
    if stream.parents is None:
        return part
    children = np.asarray(stream.children)
    if part.size and bool((part >= children.take(stream.parents)).any()):
        raise CodecError("an index refers to a child that its coarser entry doesn't have; the file is damaged")
    total = int(children.sum())
    first = (np.cumsum(children) - children).astype(np.uint8 if total <= 256 else np.uint16)
    joined: Array = first.take(stream.parents) + part.astype(first.dtype)
    return joined
