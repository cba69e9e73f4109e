"""List what the sections of a container hold: which part of which tensor each of their streams is."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qacomp.formats import layout
from qacomp.formats.codecs import Stream
from qacomp.formats.codecs.base import Array, word_dtype
from qacomp.formats.container import Container
from qacomp.formats.dtypes import dtype_of
from qacomp.formats.encoding import words
from qacomp.formats.records import GRAPH, INDEX_CHUNK, INDICES, META, SHARED, VALUE_CHUNK, VALUES, TensorRecord


@dataclass(frozen=True)
class StreamPart:
    """One stream of a section. level: of a codebook or of indices, -1 for the values of a dense tensor.

    The values of the stream are [start, stop) of the tensor's at that level.
    """

    record: TensorRecord
    level: int
    start: int
    stop: int
    stream: Stream

    @property
    def is_indices(self) -> bool:
        """Return whether the stream holds indices, not values."""
        return self.stream.kind == "indices"

    @property
    def target(self) -> int:
        """Return the level whose codebook the indices refer to: the finest one where all levels are stored at once."""
        return len(self.record.levels) - 1 if self.record.at_once else self.level


class SectionContents:
    """The streams of a container's sections, and their values, decoded on request; the last tensor is kept."""

    def __init__(self, container: Container) -> None:
        self.container = container
        self._members = layout.Members(container.header.tensors)
        self._keys = {place: key for key, place in layout.find_sections(container.header).items()}
        self._kept: dict[str, tuple[tuple[str, int], NDArray[Any]]] = {}

    def parts(self, place: int) -> list[StreamPart]:
        """Return the streams of a section, in order; none for graph and metadata."""
        return list(self._parts(*self._keys[place]))

    def _parts(self, kind: int, level: int, owner: int, chunk: int) -> Iterator[StreamPart]:
        header = self.container.header
        tensors = header.tensors
        if kind in (GRAPH, META):
            return
        if kind == INDICES:
            for number in self._members.index_members(tensors, owner, level):
                record = tensors[number]
                yield StreamPart(record, level, 0, record.count, layout.index_stream(record, level, 0, record.count))
        elif kind == VALUES:
            streams = self._members.value_streams(tensors, owner)
            for (number, book), stream in zip(self._members.values[owner], streams, strict=True):
                yield StreamPart(tensors[number], book, 0, stream.count, stream)
        elif kind == INDEX_CHUNK:
            record = tensors[owner]
            start, stop = layout.chunk_ranges(record.count, header.chunk_log2)[chunk]
            yield StreamPart(record, level, start, stop, layout.index_stream(record, level, start, stop))
        elif kind == VALUE_CHUNK and tensors[owner].kind == SHARED:
            record = tensors[owner]
            count = math.prod(record.books) * record.levels[0]
            start, stop = layout.chunk_ranges(count, header.chunk_log2)[chunk]
            yield StreamPart(record, 0, start, stop, layout.book_stream(record, 0, start, stop))
        else:
            record = tensors[owner]
            start, stop = layout.chunk_ranges(record.count, header.chunk_log2)[chunk]
            stream = Stream("values", stop - start, 0, record.stored, record.shape, start)
            yield StreamPart(record, -1, start, stop, stream)

    def indices(self, name: str, level: int) -> Array:
        """Return a shared tensor's indices at a level, or at its finest one if that is coarser: flat."""
        return self._last("indices", name, level, lambda: self.container.shared(name, level=level).indices.reshape(-1))

    def values(self, name: str, level: int) -> Array:
        """Return the stored words of a codebook, or at level -1 those of a dense tensor: flat."""
        return self._last("values", name, level, lambda: self._words(name, level))

    def dense(self, name: str, level: int) -> NDArray[Any]:
        """Return a tensor's values, at a level from 0 on of a shared one: flat."""
        at = max(level, 0)
        return self._last("dense", name, level, lambda: self.container.tensor(name, level=at).reshape(-1))

    def with_parents(self, part: StreamPart) -> StreamPart:
        """Return the part with its stream's parents, if it is a refinement: the indices at the coarser level."""
        if not part.is_indices or part.level == 0:
            return part
        parents = self.indices(part.record.name, part.level - 1)[part.start : part.stop]
        return replace(part, stream=replace(part.stream, parents=parents))

    def symbols(self, part: StreamPart) -> Array:
        """Return the symbols of a stream as its codec takes them; `with_parents` has completed a refinement's part."""
        if not part.is_indices:
            return self.values(part.record.name, part.level)[part.start : part.stop]
        found = self.indices(part.record.name, part.target)[part.start : part.stop]
        if part.stream.parents is not None:
            found = found - first_children(part).take(part.stream.parents)
        return found.astype(word_dtype(part.stream))

    def _words(self, name: str, level: int) -> Array:
        record, _ = self.container.content(name)
        array = self.container.tensor(name) if level < 0 else self.container.codebook(name, level)
        return words(array.astype(dtype_of(record.stored), copy=False))

    def _last(self, what: str, name: str, level: int, make: Any) -> Array:
        key = (name, level)
        if what not in self._kept or self._kept[what][0] != key:
            self._kept.pop(what, None)
            self._kept[what] = key, make()
        return self._kept[what][1]


def first_children(part: StreamPart) -> NDArray[np.int64]:
    """Return the number of the first child of each parent of a refinement, in the codebook of its level."""
    return np.cumsum((0, *part.stream.children[:-1]))
