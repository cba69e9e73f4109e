"""Lay out a file: chunk sizes, groups of small tensors, section offsets. Writer and reader use the same rules."""

import math
from collections import Counter
from collections.abc import Sequence

from qacomp.formats.codecs import Stream
from qacomp.formats.errors import HeaderError, LimitExceededError
from qacomp.formats.limits import ALIGNED_FROM, ALIGNMENT, MAX_GROUP_TENSORS
from qacomp.formats.records import (
    DENSE,
    INDEX_CHUNK,
    INDICES,
    META,
    SAME,
    SHARED,
    VALUE_CHUNK,
    VALUES,
    Header,
    SectionRecord,
    TensorRecord,
)

CHUNK_LOG2 = 22  # a chunk of 2^22 values: 16 MiB of float32
GROUP_TENSORS = 64  # most tensors in a group that a writer makes; readers accept MAX_GROUP_TENSORS
RAW_ID = 0


def small_values(chunk_log2: int) -> int:
    """Return the most values that a tensor in a group may have: an eighth of a chunk."""
    return 1 << chunk_log2 >> 3


def group_values(chunk_log2: int) -> int:
    """Return the most values that a group may hold: a quarter of a chunk."""
    return 1 << chunk_log2 >> 2


def chunk_ranges(count: int, chunk_log2: int) -> list[tuple[int, int]]:
    """Return the range [start, stop) of each chunk of a tensor of `count` values, in row-major order."""
    size = 1 << chunk_log2
    return [(start, min(start + size, count)) for start in range(0, count, size)]


def aligned(section: SectionRecord) -> bool:
    """Return whether a section must begin at a multiple of 64: raw values, long enough to be worth mapping."""
    raw = section.codec == RAW_ID and section.kind in (VALUES, VALUE_CHUNK)
    return raw and section.stored_bytes >= ALIGNED_FROM


def offsets(sections: Sequence[SectionRecord], start: int) -> tuple[list[int], int]:
    """Return the offset of each section if the first may begin at `start`, and the end of the last one."""
    places = []
    for section in sections:
        if aligned(section):
            start += -start % ALIGNMENT
        places.append(start)
        start += section.stored_bytes
    return places, start


def index_stream(record: TensorRecord, level: int, start: int, stop: int) -> Stream:
    """Return the stream of a tensor's indices [start, stop) at a level; the caller sets a refinement's parents."""
    if level == 0:
        alphabet = record.levels[-1 if record.at_once else 0]
        return Stream("indices", stop - start, alphabet, 1, record.shape, start)
    children = record.children[level - 1]
    return Stream("indices", stop - start, max(children), 1, record.shape, start, None, children)


def book_stream(record: TensorRecord, level: int, start: int = 0, stop: int | None = None) -> Stream:
    """Return the stream of a tensor's codebooks of one level, or of their values [start, stop)."""
    shape = (*record.books, record.levels[level])
    count = (math.prod(shape) if stop is None else stop) - start
    return Stream("values", count, 0, record.stored, shape, start, codebooks=record.blocks is not None)


class Members:
    """The tensors of each group; they follow from the records, so the file doesn't store them."""

    def __init__(self, tensors: Sequence[TensorRecord]) -> None:
        self.indices: dict[int, list[int]] = {}
        self.values: dict[int, list[tuple[int, int]]] = {}
        self.index_positions: dict[int, int] = {}
        self.value_positions: dict[tuple[int, int], int] = {}
        """The position of each member in its group; searching a group of thousands for it would take too long."""
        for number, record in enumerate(tensors):
            if record.kind == SHARED:
                for level in range(len(record.levels) if record.book_group else 0):
                    self._add_values(record.book_group - 1, (number, level))
                if record.group:
                    members = self.indices.setdefault(record.group - 1, [])
                    self.index_positions[number] = len(members)
                    members.append(number)
            elif record.kind == DENSE and record.group:
                self._add_values(record.group - 1, (number, -1))

    def _add_values(self, group: int, member: tuple[int, int]) -> None:
        members = self.values.setdefault(group, [])
        self.value_positions[member] = len(members)
        members.append(member)

    def index_members(self, tensors: Sequence[TensorRecord], group: int, level: int) -> list[int]:
        """Return the numbers of the tensors in an index group that have this level."""
        return [number for number in self.indices.get(group, []) if tensors[number].stored_levels > level]

    def value_streams(self, tensors: Sequence[TensorRecord], group: int) -> list[Stream]:
        """Return the streams of a value group: codebooks (level >= 0) and dense tensors (-1), in tensor order."""
        streams = []
        for number, level in self.values.get(group, []):
            record = tensors[number]
            if level < 0:
                streams.append(Stream("values", record.count, 0, record.stored, record.shape))
            else:
                streams.append(book_stream(record, level))
        return streams


def find_sections(header: Header) -> dict[tuple[int, int, int, int], int]:
    """Map (kind, level, owner, chunk number) of each section to its place, the number of the section in the file.

    Raises HeaderError unless the file has exactly one section for every group, level and chunk that the tensors need,
    and no other section.
    """
    found: dict[tuple[int, int, int, int], int] = {}
    chunk_numbers: dict[tuple[int, int, int], int] = {}
    last_level = 0
    for place, section in enumerate(header.sections):
        key = (section.kind, section.level, section.owner)
        number = chunk_numbers.get(key, 0)
        chunk_numbers[key] = number + 1
        found[(*key, number)] = place
        if section.level < last_level:
            raise HeaderError("a section follows one of a finer level; the file is damaged")
        last_level = section.level
    sizes = Counter(t.group for t in header.tensors if t.kind == SHARED and t.group)
    if max(sizes.values(), default=0) > MAX_GROUP_TENSORS:
        raise LimitExceededError(f"an index group has more than {MAX_GROUP_TENSORS} tensors; the file is hostile")
    _check_types(header)
    wanted = _wanted(header, len(found))
    blobs = [section.kind for section in header.sections[:2] if section.kind <= META]
    if blobs == sorted(blobs):  # the graph comes before the metadata
        wanted.update((kind, 0, 0, 0) for place, kind in enumerate(blobs) if found.get((kind, 0, 0, 0)) == place)
    if wanted != found.keys():
        raise HeaderError("its sections don't match what its tensors need; the file is damaged")
    return found


def _check_types(header: Header) -> None:
    """Check that all values of a group have one element type, so that an unknown type affects only its own groups."""
    types: dict[int, int] = {}
    for record in header.tensors:
        group = {SHARED: record.book_group, DENSE: record.group}.get(record.kind, 0)
        if group and types.setdefault(group, record.stored) != record.stored:
            raise HeaderError(f"tensor {record.name[:80]!r} doesn't have its group's element type; the file is damaged")


def _wanted(header: Header, most: int) -> set[tuple[int, int, int, int]]:
    wanted: set[tuple[int, int, int, int]] = set()
    for number, record in enumerate(header.tensors):
        if record.kind == SAME:
            continue
        if record.kind == SHARED and record.book_group:
            wanted.add((VALUES, 0, record.book_group - 1, 0))
        elif record.kind == SHARED:
            values = math.prod(record.books) * record.levels[0]
            wanted.update((VALUE_CHUNK, 0, number, i) for i in range(_chunks(record, values, header, most)))
        levels = record.stored_levels
        if record.group:
            kind = INDICES if record.kind == SHARED else VALUES
            wanted.update((kind, level, record.group - 1, 0) for level in range(levels))
            continue
        kind = INDEX_CHUNK if record.kind == SHARED else VALUE_CHUNK
        chunks = _chunks(record, record.count, header, most // levels)
        wanted.update((kind, level, number, chunk) for level in range(levels) for chunk in range(chunks))
    return wanted


def _chunks(record: TensorRecord, values: int, header: Header, most: int) -> int:
    """Return the number of chunks for this many values; raises HeaderError if there are more than `most` sections."""
    chunks = -(-values // (1 << header.chunk_log2))
    if chunks > most:
        raise HeaderError(f"tensor {record.name[:80]!r} needs {chunks} chunks, more than the file has; it is damaged")
    return chunks
