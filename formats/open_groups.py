"""Collect small tensors in groups that share a section; a group is encoded when it is full or the writer ends it."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from qacomp.formats import layout
from qacomp.formats.codecs import Stream
from qacomp.formats.codecs.base import Array
from qacomp.formats.encoding import Member, Section, SectionKey, encode, words
from qacomp.formats.index_groups import divided
from qacomp.formats.records import VALUES, TensorRecord
from qacomp.formats.tensors import SharedTensor


class OpenGroups:
    """The open groups: one of indices, and for each element type one of values and one of codebooks in blocks.

    put: called with each finished section; moved: called with the number of a tensor and the group that holds its
    indices, where that isn't the group that `add_indices` returned; codecs: names of the codecs to try, None for all.
    """

    def __init__(
        self,
        put: Callable[[Section], None],
        moved: Callable[[int, int], None],
        codecs: Sequence[str] | None,
        chunk_log2: int,
    ) -> None:
        self._put, self._moved, self._codecs, self._chunk_log2 = put, moved, codecs, chunk_log2
        self._indices: list[Member] = []
        self._waiting = 0  # indices in the open group
        self._values: dict[tuple[int, bool], list[tuple[int, Array, Stream]]] = {}
        self._value_numbers: dict[tuple[int, bool], int] = {}
        self._values_waiting: dict[tuple[int, bool], int] = {}  # values in each open group
        self._index_count, self._value_count = 0, 0

    def add_indices(self, number: int, record: TensorRecord, tensor: SharedTensor) -> int:
        """Put a tensor's indices into the open group, and return the group's number."""
        full = self._waiting + record.count > layout.group_values(self._chunk_log2)
        if full or len(self._indices) == layout.GROUP_TENSORS:
            self._flush_indices()
        self._indices.append(Member(number, record, tensor, 0, tensor.indices.size))
        self._waiting += tensor.indices.size
        return self._index_count

    def add_values(self, number: int, stored: NDArray[Any], stream: Stream) -> int:
        """Put values into the open group of their type, and return the group's number.

        A tensor's codebooks must share one group, and groups list their members in tensor order, so a group is
        flushed only between tensors.
        """
        kind = (stream.dtype, stream.codebooks)
        members = self._values.get(kind, [])
        full = self._values_waiting.get(kind, 0) + stored.size > layout.group_values(self._chunk_log2)
        if members and full and members[-1][0] != number:
            self._flush_values(kind)
        if kind not in self._values:
            self._values[kind], self._values_waiting[kind] = [], 0
            self._value_numbers[kind] = self._value_count
            self._value_count += 1
        self._values[kind].append((number, words(stored), stream))
        self._values_waiting[kind] += stream.count
        return self._value_numbers[kind]

    def flush(self) -> None:
        """Encode all open groups; tensors that come later go into new groups."""
        for kind in sorted(self._values):
            self._flush_values(kind)
        self._flush_indices()

    def _flush_values(self, kind: tuple[int, bool]) -> None:
        numbers, parts, streams = zip(*self._values.pop(kind), strict=True)
        self._put(encode(SectionKey(VALUES, 0, self._value_numbers[kind]), parts, streams, numbers, self._codecs))

    def _flush_indices(self) -> None:
        if self._indices:
            for part in divided(self._indices, self._codecs):
                for section in part:
                    owner = self._index_count
                    self._put(replace(section, record=replace(section.record, owner=owner)))
                    for number in section.numbers if section.record.level == 0 else ():
                        self._moved(number, owner)
                self._index_count += 1
            self._indices, self._waiting = [], 0
