"""Reading a container: names and shapes at once, each tensor only when asked for, every section checked on the way."""

import contextlib
import json
import math
import mmap
import os
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qacomp.formats import header as h
from qacomp.formats import layout
from qacomp.formats.checksums import DigestStream, crc32
from qacomp.formats.codecs import Stream, codec_of
from qacomp.formats.codecs.base import Array, word_dtype
from qacomp.formats.dtypes import dtype_name, dtype_of
from qacomp.formats.errors import (
    ChecksumMismatchError,
    CodecError,
    FormatError,
    HeaderError,
    LimitExceededError,
    NotSharedError,
    TensorNotFoundError,
    TruncatedFileError,
)
from qacomp.formats.limits import Limits
from qacomp.formats.parallel import run, shared_empty
from qacomp.formats.report import SectionInfo, TensorInfo, VerifyReport
from qacomp.formats.tensors import Level, SharedTensor

_EXPANSION_FLOOR = 256 << 20
_CACHED_GROUPS = 4
_KINDS = ("graph", "meta", "values", "indices", "values", "indices")


class Container:
    """An open container: a context manager; sections are read, checked and decoded when they are asked for.

    Made by `open_file`. All methods raise a FormatError where the bytes they need are damaged.
    """

    def __init__(
        self,
        source: str,
        data: memoryview,
        prefix: h.Prefix,
        header: h.Header,
        verify: bool,
        limits: Limits,
        threads: int = 1,
    ) -> None:
        self.source = source
        self.verify = verify
        self.limits = limits
        self.threads = threads
        self.version = prefix.version
        self._data = data
        self._prefix = prefix
        self._header = header
        self._close: list[Any] = []
        self._numbers = {record.name: number for number, record in enumerate(header.tensors)}
        self._members = layout.Members(header.tensors)
        self._places = layout.find_sections(header)
        self._offsets, self._end = layout.offsets(header.sections, h.PREFIX_BYTES + prefix.stored_bytes)
        self._checked: set[int] = set()
        self._top = self._complete_levels() - 1
        self._cache: dict[int, list[Array]] = {}

    def __enter__(self) -> "Container":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file. Arrays already given stay valid where they are copies; mapped ones keep the map alive."""
        self._cache.clear()
        for handle in (self._data, *self._close):
            with contextlib.suppress(BufferError):  # a mapped array is still in use: the map goes when it does
                handle.release() if isinstance(handle, memoryview) else handle.close()

    @property
    def names(self) -> tuple[str, ...]:
        """Tensor names, in the file's order."""
        return tuple(self._numbers)

    @property
    def size(self) -> int:
        """Bytes of the whole file, as its prefix says."""
        return self._prefix.file_bytes

    @property
    def overhead_bytes(self) -> int:
        """Prefix, header and padding: all that is no section's payload."""
        return self.size - sum(section.stored_bytes for section in self._header.sections)

    @property
    def sections(self) -> tuple[SectionInfo, ...]:
        """All sections, in the file's order."""
        return tuple(self._section_info(place) for place in range(len(self._header.sections)))

    @property
    def meta(self) -> dict[str, Any]:
        """The JSON object stored with the tensors; empty where there is none."""
        data = self._blob(h.META)
        if data is None:
            return {}
        try:
            value = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise HeaderError(f"{self.source}: the metadata is no JSON; the file is damaged") from error
        if not isinstance(value, dict):
            raise HeaderError(f"{self.source}: the metadata is no JSON object; the file is damaged")
        return value

    def graph(self) -> bytes | None:
        """The graph's bytes as they were given to the writer, or None."""
        return self._blob(h.GRAPH)

    def info(self, name: str) -> TensorInfo:
        """What the header knows of a tensor. Raises TensorNotFoundError."""
        record, number = self._record(name)
        same = self._header.tensors[record.same_as].name if record.kind == h.SAME else None
        content = record.same_as if record.kind == h.SAME else number
        stored, codecs = self._stored(content)
        codec = "+".join(dict.fromkeys(codec_of(c).name for c in codecs)) or "none"
        bits = 8 * stored / record.count if record.count else 0.0
        return TensorInfo(
            record.name,
            record.shape,
            dtype_name(record.dtype),
            dtype_name(record.stored),
            record.levels[-1] if record.levels else None,
            record.levels,
            codec,
            round(stored),
            record.count,
            bits,
            record.digest.hex(),
            same,
        )

    @property
    def levels(self) -> int:
        """How many levels the file holds: more than one for nested codebooks."""
        return max((section.level for section in self._header.sections), default=0) + 1

    @property
    def level(self) -> int:
        """The finest level whose bytes are all there: the last one, unless the file is cut off."""
        return self._top

    def tensor(self, name: str, *, level: int | None = None, copy: bool = True) -> NDArray[Any]:
        """A tensor as a dense array of its own; `level` takes a shared one at a coarser level.

        copy=False lets a large raw tensor be a read-only view of the mapped file. Raises TensorNotFoundError.
        """
        record, number = self._content(name)
        if record.kind == h.SHARED and record.group:
            return self._shared(number, level).dense()
        if record.kind == h.SHARED:
            top = self._level_of(record, level)
            book = self._book(number, top)
            self._allow(number)
            out = shared_empty((record.count,), book.dtype)
            self._each_chunk(number, top, lambda start, stop, part: book.take(part, out=out[start:stop], mode="clip"))
            return out.reshape(record.shape)
        if not copy and (view := self._mapped(number)) is not None:
            return view.view(dtype_of(record.stored)).reshape(record.shape)
        return self._typed(self._values(number), record).reshape(record.shape)

    def rows(self, name: str, start: int, stop: int, *, level: int | None = None) -> NDArray[Any]:
        """Rows [start, stop) of a tensor's first axis, decoding only the chunks they lie in.

        Bounds are clipped as in slicing. Raises TensorNotFoundError, or IndexError for a tensor without axes.
        """
        record, number = self._content(name)
        if not record.shape:
            raise IndexError(f"tensor {name!r} has no axes to slice")
        start, stop, _ = slice(start, stop).indices(record.shape[0])
        stop = max(start, stop)
        if record.group:
            return self.tensor(name, level=level)[start:stop]
        inner = math.prod(record.shape[1:])
        top = self._level_of(record, level) if record.kind == h.SHARED else 0
        out: NDArray[Any] = np.empty((stop - start) * inner, dtype_of(record.dtype))
        first, last = start * inner, stop * inner
        for chunk, (begin, end) in enumerate(layout.chunk_ranges(record.count, self._header.chunk_log2)):
            if begin >= last or end <= first:
                continue
            if record.kind == h.SHARED:
                part = self._book(number, top).take(self._chunk_indices(number, chunk, begin, end, top))
            else:
                part = self._typed(self._chunk_values(number, chunk, begin, end), record)
            low, high = max(begin, first), min(end, last)
            out[low - first : high - first] = part[low - begin : high - begin]
        return out.reshape(stop - start, *record.shape[1:])

    def shared(self, name: str, *, level: int | None = None) -> SharedTensor:
        """A shared tensor's codebook and indices, with its coarser levels unless one is asked for.

        Raises TensorNotFoundError, or NotSharedError for a dense tensor.
        """
        record, number = self._content(name)
        if record.kind != h.SHARED:
            raise NotSharedError(f"{self.source}: tensor {name!r} is stored dense; read it with tensor()")
        return self._shared(number, level)

    def check(self) -> VerifyReport:
        """Prove every section's checksum and every tensor's digest; raises the FormatError that fits."""
        for place in range(len(self._header.sections)):
            self._bytes(place, always=True)
        self.graph()
        _ = self.meta
        self._check_padding()
        for name in self.names:
            record, _ = self._content(name)
            digest = DigestStream(self._header.digest_bytes)
            digest.update(self.tensor(name))
            if digest.digest() != record.digest:
                raise ChecksumMismatchError(
                    f"{self.source}: tensor {name!r} doesn't decode to the values that were written; fetch it again"
                )
        return VerifyReport(self.size, self.sections, tuple(self.info(name) for name in self.names), self.version)

    def _check_padding(self) -> None:
        end = h.PREFIX_BYTES + self._prefix.stored_bytes
        for offset, section in zip(self._offsets, self._header.sections, strict=True):
            if any(self._data[end:offset]):
                raise HeaderError(f"{self.source}: padding isn't zero; the file is damaged")
            end = offset + section.stored_bytes

    def _record(self, name: str) -> tuple[h.TensorRecord, int]:
        if name not in self._numbers:
            raise TensorNotFoundError(f"{self.source}: no tensor {name!r}; it holds {len(self._numbers)} others")
        number = self._numbers[name]
        return self._header.tensors[number], number

    def _content(self, name: str) -> tuple[h.TensorRecord, int]:
        record, number = self._record(name)
        if record.kind == h.SAME:
            number = record.same_as
            record = self._header.tensors[number]
        return record, number

    def _bytes(self, place: int, always: bool = False) -> memoryview:
        """A section's stored bytes, checked against its checksum the first time (always, on request)."""
        section, offset = self._header.sections[place], self._offsets[place]
        if offset + section.stored_bytes > len(self._data):
            raise TruncatedFileError(
                f"{self.source}: ends before section {place} ({len(self._data)} of {self.size} bytes); fetch it again"
            )
        data = self._data[offset : offset + section.stored_bytes]
        if always or (self.verify and place not in self._checked):
            if crc32(data) != section.crc:
                raise ChecksumMismatchError(f"{self.source}: section {place} is damaged; fetch the file again")
            self._checked.add(place)
        return data

    def _decode(self, place: int, streams: list[Stream]) -> list[Array]:
        """Decode a section to its streams, with what they may allocate held against the limits first."""
        section, data = self._header.sections[place], self._bytes(place)
        needed = sum(stream.count * max(word_dtype(stream).itemsize, 1) for stream in streams)
        if needed > max(_EXPANSION_FLOOR, section.stored_bytes * self.limits.expansion):
            raise LimitExceededError(
                f"{self.source}: section {place} would grow from {section.stored_bytes} to {needed} bytes; raise limits"
            )
        codec = codec_of(section.codec)
        if any(stream.kind not in codec.kinds for stream in streams):
            raise HeaderError(f"{self.source}: section {place} has a codec for other things; the file is damaged")
        try:
            return codec.decode(data, streams)
        except CodecError as error:
            raise CodecError(f"{self.source}: section {place}: {error}") from error

    def _blob(self, kind: int) -> bytes | None:
        place = self._places.get((kind, 0, 0, 0))
        if place is None:
            return None
        return self._decode(place, [Stream("values", self._header.sections[place].count)])[0].tobytes()

    def _group(self, place: int, streams: list[Stream]) -> list[Array]:
        """A group's parts; the last few groups stay decoded, since their tensors are often read in turn."""
        if place not in self._cache:
            parts = self._decode(place, streams)
            while len(self._cache) >= _CACHED_GROUPS:
                del self._cache[next(iter(self._cache))]
            self._cache[place] = parts
        return self._cache[place]

    def _value_group(self, group: int, number: int, level: int) -> Array:
        streams = self._members.value_streams(self._header.tensors, group)
        parts = self._group(self._places[(h.VALUES, 0, group, 0)], streams)
        return parts[self._members.values[group].index((number, level))]

    def _values(self, number: int) -> Array:
        """The stored words of a dense tensor."""
        record = self._header.tensors[number]
        if record.group:
            return self._value_group(record.group - 1, number, -1)
        ranges = layout.chunk_ranges(record.count, self._header.chunk_log2)
        self._allow(number)
        words = shared_empty((record.count,), word_dtype(Stream("values", 0, 0, record.stored)))

        def fill(chunk: int) -> None:
            start, stop = ranges[chunk]
            words[start:stop] = self._chunk_values(number, chunk, start, stop)

        run(len(ranges), self.threads, fill)
        return words

    def _chunk_values(self, number: int, chunk: int, start: int, stop: int) -> Array:
        record = self._header.tensors[number]
        stream = Stream("values", stop - start, 0, record.stored, record.shape, start)
        return self._decode(self._places[(h.VALUE_CHUNK, 0, number, chunk)], [stream])[0]

    def _mapped(self, number: int) -> Array | None:
        """A tensor's words straight from the file, where its chunks are raw and follow one another."""
        record = self._header.tensors[number]
        ranges = layout.chunk_ranges(record.count, self._header.chunk_log2)
        places = [self._places[(h.VALUE_CHUNK, 0, number, chunk)] for chunk in range(len(ranges))]
        if record.group or not places or any(self._header.sections[p].codec != layout.RAW_ID for p in places):
            return None
        parts = [self._bytes(place) for place in places]
        begin, size = self._offsets[places[0]], sum(len(part) for part in parts)
        if self._offsets[places[-1]] + len(parts[-1]) != begin + size:
            return None
        return np.frombuffer(self._data[begin : begin + size], word_dtype(Stream("values", 0, 0, record.stored)))

    def _complete_levels(self) -> int:
        """Levels of which every section lies within the bytes that are there."""
        ends = [o + s.stored_bytes for o, s in zip(self._offsets, self._header.sections, strict=True)]
        cut = [s.level for s, end in zip(self._header.sections, ends, strict=True) if end > len(self._data)]
        return min(cut, default=self.levels)

    def _level_of(self, record: h.TensorRecord, level: int | None) -> int:
        """The level to read: the one asked for, or the finest that is there."""
        if level is not None and level < 0:
            raise ValueError("levels count from 0, the coarsest")
        return min(self._top if level is None else level, len(record.levels) - 1)

    def _book(self, number: int, level: int) -> NDArray[Any]:
        record = self._header.tensors[number]
        return self._typed(self._value_group(record.side_group - 1, number, level), record)

    def _each_chunk(self, number: int, top: int, use: Callable[[int, int, Array], object]) -> None:
        """Give every chunk's indices to `use`, on several cores where they are allowed."""
        ranges = layout.chunk_ranges(self._header.tensors[number].count, self._header.chunk_log2)

        def decode(chunk: int) -> None:
            start, stop = ranges[chunk]
            use(start, stop, self._chunk_indices(number, chunk, start, stop, top))

        run(len(ranges), self.threads, decode)

    def _shared(self, number: int, level: int | None) -> SharedTensor:
        record = self._header.tensors[number]
        top = self._level_of(record, level)
        books = [self._book(number, i) for i in range(top + 1)]
        dtype = np.dtype("u1") if record.levels[top] <= 256 else np.dtype("<u2")
        indices: Array
        if record.group:
            indices = self._group_indices(record.group - 1, top)[number].astype(dtype)
        else:
            self._allow(number)
            filled = indices = shared_empty((record.count,), dtype)

            def fill(start: int, stop: int, part: Array) -> None:
                filled[start:stop] = part

            self._each_chunk(number, top, fill)
        levels = (
            ()
            if level is not None
            else tuple(
                Level(books[i], np.repeat(np.arange(len(split), dtype=np.uint16), split))
                for i, split in enumerate(record.children[:top])
            )
        )
        return SharedTensor(books[top], indices.reshape(record.shape), levels)

    def _group_indices(self, group: int, top: int) -> dict[int, Array]:
        tensors = self._header.tensors
        indices: dict[int, Array] = {}
        for level in range(top + 1):
            numbers = self._members.index_members(tensors, group, level)
            if not numbers:
                break
            streams = [layout.index_stream(tensors[n], level, 0, tensors[n].count) for n in numbers]
            if level:
                streams = [replace(s, parents=indices[n]) for s, n in zip(streams, numbers, strict=True)]
            parts = self._group(self._places[(h.INDICES, level, group, 0)], streams)
            for number, part, stream in zip(numbers, parts, streams, strict=True):
                indices[number] = _join(part, stream)
        return indices

    def _chunk_indices(self, number: int, chunk: int, start: int, stop: int, top: int) -> Array:
        record = self._header.tensors[number]
        indices: Array = np.zeros(0, np.uint8)
        for level in range(top + 1):
            stream = layout.index_stream(record, level, start, stop)
            if level:
                stream = replace(stream, parents=indices)
            part = self._decode(self._places[(h.INDEX_CHUNK, level, number, chunk)], [stream])[0]
            indices = _join(part, stream)
        return indices

    def _typed(self, words: Array, record: h.TensorRecord) -> NDArray[Any]:
        """Stored words as an array of the tensor's dtype, always a copy that its owner may change."""
        stored = words.view(dtype_of(record.stored))
        if stored.dtype == np.bool_ and words.size and int(words.max()) > 1:
            raise CodecError(f"{self.source}: tensor {record.name[:80]!r} has a truth value that is neither 0 nor 1")
        if record.stored == record.dtype:
            return stored.copy()
        return stored.astype(dtype_of(record.dtype))

    def _allow(self, number: int) -> None:
        """Hold what a tensor with chunks of its own takes when decoded against what is stored of it."""
        record = self._header.tensors[number]
        stored = sum(self._header.sections[place].stored_bytes for place, _ in self._shares[number])
        if record.nbytes > max(_EXPANSION_FLOOR, stored * self.limits.expansion):
            raise LimitExceededError(
                f"{self.source}: a tensor would grow from {stored} to {record.nbytes} bytes; raise the limits for it"
            )

    @cached_property
    def _shares(self) -> list[list[tuple[int, float]]]:
        """For each tensor the sections that hold something of it, and its part of each, by values."""
        shares: list[list[tuple[int, float]]] = [[] for _ in self._header.tensors]
        for place, section in enumerate(self._header.sections):
            counts: dict[int, int] = {}
            if section.kind in (h.VALUE_CHUNK, h.INDEX_CHUNK):
                counts = {section.owner: 1}
            elif section.kind == h.INDICES:
                members = self._members.index_members(self._header.tensors, section.owner, section.level)
                counts = {n: self._header.tensors[n].count for n in members}
            elif section.kind == h.VALUES:
                streams = self._members.value_streams(self._header.tensors, section.owner)
                for stream, (n, _) in zip(streams, self._members.values.get(section.owner, []), strict=True):
                    counts[n] = counts.get(n, 0) + stream.count
            total = max(sum(counts.values()), 1)
            for n, count in counts.items():
                shares[n].append((place, count / total))
        return shares

    def _stored(self, number: int) -> tuple[float, list[int]]:
        """Stored bytes of a tensor and the codecs of its sections, codebooks counted but not their codec."""
        shared, sections = self._header.tensors[number].kind == h.SHARED, self._header.sections
        total = sum(sections[place].stored_bytes * share for place, share in self._shares[number])
        codecs = [
            sections[place].codec
            for place, _ in self._shares[number]
            if not (shared and sections[place].kind == h.VALUES)
        ]
        return total, codecs

    def _section_info(self, place: int) -> SectionInfo:
        section, tensors = self._header.sections[place], self._header.tensors
        if section.kind in (h.VALUE_CHUNK, h.INDEX_CHUNK):
            numbers = [section.owner]
        elif section.kind == h.INDICES:
            numbers = self._members.index_members(tensors, section.owner, section.level)
        elif section.kind == h.VALUES:
            numbers = list(dict.fromkeys(n for n, _ in self._members.values.get(section.owner, [])))
        else:
            numbers = []
        names = tuple(tensors[n].name for n in numbers)
        codec = codec_of(section.codec).name
        offset = self._offsets[place]
        return SectionInfo(_KINDS[section.kind], codec, section.level, names, offset, section.stored_bytes, section.crc)


def open_file(
    path: str | os.PathLike[str] | bytes | bytearray | memoryview,
    *,
    limits: Limits | None = None,
    verify: bool = True,
    allow_truncated: bool = False,
    threads: int = 1,
) -> Container:
    """Open a container lazily: a path (mapped into memory) or its bytes.

    verify: check each section's checksum when it is first read; limits: see Limits. allow_truncated: accept a file cut
    off behind the end of a level, which then is what `tensor` gives; threads: processes that decode a large tensor's
    chunks. Raises the FormatError that fits, or OSError where
    the path can't be read at all.
    """
    limits = limits or Limits()
    handles: list[Any] = []
    if isinstance(path, bytes | bytearray | memoryview):
        source, data = "container", memoryview(path)
    else:
        source = str(Path(path))
        with open(path, "rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) if size else None
        data = memoryview(mapped) if mapped is not None else memoryview(b"")
        handles = [mapped] if mapped is not None else []
    try:
        container = _parse(source, data, limits, verify, allow_truncated, threads)
    except FormatError as error:
        if source not in str(error):
            raise type(error)(f"{source}: {error}") from error
        raise
    container._close = handles
    return container


def _parse(
    source: str, data: memoryview, limits: Limits, verify: bool, allow_truncated: bool, threads: int
) -> Container:
    prefix = h.read_prefix(data, source, limits)
    if len(data) > prefix.file_bytes:
        raise HeaderError(f"{source}: {len(data) - prefix.file_bytes} bytes stand after its end; the file is damaged")
    end = h.PREFIX_BYTES + prefix.stored_bytes
    if len(data) < end or (len(data) < prefix.file_bytes and not allow_truncated):
        raise TruncatedFileError(f"{source}: {len(data)} of {prefix.file_bytes} bytes; fetch the file again")
    stored = data[h.PREFIX_BYTES : end]
    if crc32(stored) != prefix.header_crc:
        raise ChecksumMismatchError(f"{source}: the header is damaged; fetch the file again")
    codec = codec_of(prefix.header_codec)
    if "values" not in codec.kinds:
        raise HeaderError(f"{source}: its header has an impossible codec; the file is damaged")
    raw = codec.decode(stored, [Stream("values", prefix.header_bytes)])[0]
    container = Container(source, data, prefix, h.read_header(raw.tobytes(), limits), verify, limits, threads)
    if container._end != prefix.file_bytes:
        raise HeaderError(f"{source}: its sections end at {container._end}, not where the file does; it is damaged")
    if container.level < 0:
        raise TruncatedFileError(f"{source}: ends before its coarsest level does; fetch the file again")
    return container


def _join(part: Array, stream: Stream) -> Array:
    """Indices of a level from the refinement's symbols and their parents; a child that isn't there is a CodecError."""
    if stream.parents is None:
        return part
    children = np.asarray(stream.children)
    if part.size and bool((part >= children.take(stream.parents)).any()):
        raise CodecError("a refinement lies outside its coarse cell; the file is damaged")
    total = int(children.sum())
    first = (np.cumsum(children) - children).astype(np.uint8 if total <= 256 else np.uint16)
    joined: Array = first.take(stream.parents) + part.astype(first.dtype)
    return joined


def load_file(
    path: str | os.PathLike[str] | bytes, *, limits: Limits | None = None, threads: int = 1
) -> dict[str, NDArray[Any]]:
    """All tensors of a container as dense arrays, by name. Raises the FormatError that fits."""
    with open_file(path, limits=limits, threads=threads) as container:
        return {name: container.tensor(name) for name in container.names}


def verify_file(
    path: str | os.PathLike[str] | bytes, *, limits: Limits | None = None, threads: int = 1
) -> VerifyReport:
    """Prove a whole file: structure, every checksum, every tensor's digest. Raises the FormatError that fits."""
    with open_file(path, limits=limits, threads=threads) as container:
        return container.check()
