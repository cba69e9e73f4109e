"""Describe tensors and sections from the header alone: what a section holds, and each tensor's share of the bytes."""

from collections.abc import Callable, Sequence
from functools import cached_property

from qacomp.formats import layout
from qacomp.formats.codecs import CODECS, Codec, Stream, codec_name
from qacomp.formats.dtypes import dtype_name
from qacomp.formats.records import INDEX_CHUNK, INDICES, SAME, VALUE_CHUNK, VALUES, Header, SectionRecord
from qacomp.formats.report import SectionInfo, TensorInfo

IndexBits = Callable[[int], Sequence[int]]
"""Returns the bits that a tensor's indices take at each level, by its number; fewer levels if some are cut off."""

_VALUES = (VALUES, VALUE_CHUNK)
_KINDS = ("graph", "meta", "values", "indices", "values", "indices")


class Inventory:
    """The tensors and sections of a header, described without decoding anything."""

    def __init__(self, header: Header, members: layout.Members) -> None:
        self.header = header
        self.members = members
        self._divided: dict[tuple[int, bool], dict[int, int] | None] = {}

    def tensor(self, number: int, bits: IndexBits | None = None) -> TensorInfo:
        """Return the description of a tensor.

        bits: tells what the indices of a tensor in a group take; without it the bytes of a tensor that depend on that
        are None.
        """
        record = self.header.tensors[number]
        same = self.header.tensors[record.same_as].name if record.kind == SAME else None
        places = self._places[record.same_as if record.kind == SAME else number]
        # equal content is stored once: the first tensor is charged for it
        stored = 0 if same is not None else self._stored(number, bits)
        return TensorInfo(
            record.name,
            record.shape,
            dtype_name(record.dtype),
            dtype_name(record.stored),
            record.levels[-1] if record.levels else None,
            record.levels,
            self._codecs(places, bool(record.levels)),
            stored,
            record.count,
            None if stored is None else 8 * stored / max(record.count, 1),
            record.digest.hex(),
            same,
            record.blocks,
        )

    def section(self, place: int, offset: int) -> SectionInfo:
        """Return the description of a section that begins at this offset."""
        section, tensors = self.header.sections[place], self.header.tensors
        names = tuple(tensors[number].name for number in dict.fromkeys(self._streams(section)[0]))
        codec = codec_name(section.codec)
        return SectionInfo(_KINDS[section.kind], codec, section.level, names, offset, section.stored_bytes, section.crc)

    def _codecs(self, places: Sequence[int], shared: bool) -> str:
        """Return the codecs of these sections, those of codebooks left out."""
        sections = [self.header.sections[place] for place in places]
        used = [codec_name(s.codec) for s in sections if not (shared and s.kind in _VALUES)]
        return "+".join(dict.fromkeys(used)) or "none"

    def _stored(self, number: int, bits: IndexBits | None) -> int | None:
        """Return the stored bytes of a tensor, with its codebooks; None if they aren't known."""
        total = 0
        for place in self._places[number]:
            key = place, bits is not None
            if key not in self._divided:
                self._divided[key] = self._divide(self.header.sections[place], bits)
            if (parts := self._divided[key]) is None:
                return None
            total += parts[number]
        return total

    def _divide(self, section: SectionRecord, bits: IndexBits | None) -> dict[int, int] | None:
        """Return how many of a section's bytes belong to each of its tensors, together all; None if it isn't known."""
        numbers, streams = self._streams(section)
        if len(numbers) == 1:
            return {numbers[0]: section.stored_bytes}
        shares = CODECS.get(section.codec, Codec()).shares(streams)
        if shares is None:
            known = [] if bits is None else [bits(number) for number in numbers]
            if any(len(each) <= section.level for each in known) or not known:
                return None
            shares = [each[section.level] for each in known]
        if not any(shares):
            shares = [1] * len(numbers)
        parts, done, before, total = dict.fromkeys(numbers, 0), 0, 0, sum(shares)
        for number, share in zip(numbers, shares, strict=True):
            done += share
            after = (2 * section.stored_bytes * done + total) // (2 * total)  # rounded, so that no byte is lost
            parts[number] += after - before
            before = after
        return parts

    @cached_property
    def _places(self) -> list[list[int]]:
        """Return for each tensor the places of its sections."""
        places: list[list[int]] = [[] for _ in self.header.tensors]
        for place, section in enumerate(self.header.sections):
            for number in dict.fromkeys(self._streams(section)[0]):
                places[number].append(place)
        return places

    def _streams(self, section: SectionRecord) -> tuple[list[int], list[Stream]]:
        """Return the numbers of a section's tensors, and the stream of each; a number may come again, for codebooks.

        A chunk has no streams here: it belongs to one tensor.
        """
        tensors = self.header.tensors
        if section.kind in (VALUE_CHUNK, INDEX_CHUNK):
            return [section.owner], []
        if section.kind == INDICES:
            numbers = self.members.index_members(tensors, section.owner, section.level)
            return numbers, [layout.index_stream(tensors[n], section.level, 0, tensors[n].count) for n in numbers]
        if section.kind == VALUES:
            members = self.members.values.get(section.owner, [])
            return [n for n, _ in members], self.members.value_streams(tensors, section.owner)
        return [], []
