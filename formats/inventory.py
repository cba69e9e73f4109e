"""Describe tensors and sections from the header alone: what a section holds, and each tensor's share of the bytes."""

from functools import cached_property

from qacomp.formats import layout
from qacomp.formats.codecs import codec_name
from qacomp.formats.dtypes import dtype_name
from qacomp.formats.records import INDEX_CHUNK, INDICES, SAME, SHARED, VALUE_CHUNK, VALUES, Header, SectionRecord
from qacomp.formats.report import SectionInfo, TensorInfo

_VALUES = (VALUES, VALUE_CHUNK)
_KINDS = ("graph", "meta", "values", "indices", "values", "indices")


class Inventory:
    """The tensors and sections of a header, described without decoding anything."""

    def __init__(self, header: Header, members: layout.Members) -> None:
        self.header = header
        self.members = members
        self._known: dict[int, tuple[float, str]] = {}

    def tensor(self, number: int) -> TensorInfo:
        """Return the description of a tensor."""
        record = self.header.tensors[number]
        same = self.header.tensors[record.same_as].name if record.kind == SAME else None
        stored, codec = self._stored(record.same_as if record.kind == SAME else number)
        stored = 0.0 if same is not None else stored  # equal content is stored once: the first tensor is charged for it
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
            record.blocks,
        )

    def section(self, place: int, offset: int) -> SectionInfo:
        """Return the description of a section that begins at this offset."""
        section, tensors = self.header.sections[place], self.header.tensors
        names = tuple(tensors[number].name for number in self._counts(section))
        codec = codec_name(section.codec)
        return SectionInfo(_KINDS[section.kind], codec, section.level, names, offset, section.stored_bytes, section.crc)

    def _stored(self, number: int) -> tuple[float, str]:
        """Return the stored bytes of a tensor, with its codebooks, and its codecs, without those of its codebooks."""
        if number in self._known:  # others may be the same as this one
            return self._known[number]
        shared, sections = self.header.tensors[number].kind == SHARED, self.header.sections
        total = sum(sections[place].stored_bytes * share for place, share in self._shares[number])
        places = [place for place, _ in self._shares[number] if not (shared and sections[place].kind in _VALUES)]
        codec = "+".join(dict.fromkeys(codec_name(sections[place].codec) for place in places)) or "none"
        self._known[number] = total, codec
        return total, codec

    @cached_property
    def _shares(self) -> list[list[tuple[int, float]]]:
        """Return for each tensor the places of its sections, each with its fraction of the section's values."""
        shares: list[list[tuple[int, float]]] = [[] for _ in self.header.tensors]
        for place, section in enumerate(self.header.sections):
            counts = self._counts(section)
            total = max(sum(counts.values()), 1)
            for number, count in counts.items():
                shares[number].append((place, count / total))
        return shares

    def _counts(self, section: SectionRecord) -> dict[int, int]:
        """Return how many values of each tensor a section holds, by tensor number, in order."""
        tensors = self.header.tensors
        if section.kind in (VALUE_CHUNK, INDEX_CHUNK):
            return {section.owner: 1}
        if section.kind == INDICES:
            return {n: tensors[n].count for n in self.members.index_members(tensors, section.owner, section.level)}
        counts: dict[int, int] = {}
        if section.kind == VALUES:
            streams = self.members.value_streams(tensors, section.owner)
            for stream, (n, _) in zip(streams, self.members.values.get(section.owner, []), strict=True):
                counts[n] = counts.get(n, 0) + stream.count
        return counts
