"""The sections of an open file: where they stand, their bytes held against checksums, their streams within limits."""

from collections.abc import Callable, Sequence

from qacomp.formats import layout
from qacomp.formats.budget import Budget, check_expansion, check_graph, check_meta, section_bytes
from qacomp.formats.checksums import crc32
from qacomp.formats.codecs import PRIVATE, Stream, codec_of
from qacomp.formats.codecs.base import Array
from qacomp.formats.errors import (
    ChecksumMismatchError,
    CodecError,
    HeaderError,
    LimitExceededError,
    TruncatedFileError,
    UnsupportedVersionError,
)
from qacomp.formats.group_cache import GroupCache, check_work
from qacomp.formats.limits import SECTION_FLOOR, Limits
from qacomp.formats.records import GRAPH, Header

_ARRAY_BYTES = 256  # what an array takes besides its values


class Sections:
    """A file's sections by place (their number in the file's order); each is checked when it is first read.

    start: where the first section may begin, in bytes; raises HeaderError unless the sections are those that the
    tensors need. A file that is cut off has fewer bytes than its sections say.
    """

    def __init__(self, source: str, data: memoryview, header: Header, start: int, limits: Limits, verify: bool) -> None:
        self.source = source
        self.data = data
        self.records = header.sections
        self.start = start
        self.limits = limits
        self.verify = verify
        self.places = layout.find_sections(header)
        self.members = layout.Members(header.tensors)
        self.offsets, self.end = layout.offsets(header.sections, start)
        times = check_work(header, self.members, self.end, limits)
        self._budget = Budget(self.end, limits, {self.places[key]: n for key, n in times.items() if key in self.places})
        self._checked: set[int] = set()
        self._groups = GroupCache[int, list[Array]]()

    def place(self, kind: int, level: int, owner: int, chunk: int = 0) -> int:
        """Return the place of a section that is known to be there."""
        return self.places[(kind, level, owner, chunk)]

    @property
    def levels(self) -> int:
        """Return how many levels the sections have."""
        return max((section.level for section in self.records), default=0) + 1

    def complete_levels(self) -> int:
        """Count the levels of which every section lies within the bytes that are there."""
        ends = [offset + section.stored_bytes for offset, section in zip(self.offsets, self.records, strict=True)]
        cut = [s.level for s, end in zip(self.records, ends, strict=True) if end > len(self.data)]
        return min(cut, default=self.levels)

    def stored(self, place: int, always: bool = False) -> memoryview:
        """Return a section's stored bytes, checked against its checksum the first time (always, on request)."""
        section, offset = self.records[place], self.offsets[place]
        if offset + section.stored_bytes > len(self.data):
            raise TruncatedFileError(
                f"{self.source}: ends before section {place} ({len(self.data)} of {self.end} bytes); fetch it again"
            )
        data = self.data[offset : offset + section.stored_bytes]
        if always or (self.verify and place not in self._checked):
            if crc32(data) != section.crc:
                raise ChecksumMismatchError(f"{self.source}: section {place} is damaged; fetch the file again")
            self._checked.add(place)
        return data

    def decode(self, place: int, streams: Sequence[Stream]) -> list[Array]:
        """Decode a section to its streams, with what they may allocate held against the limits first."""
        section, data = self.records[place], self.stored(place)
        try:
            codec = codec_of(section.codec)
        except UnsupportedVersionError as error:
            raise UnsupportedVersionError(f"{self.source}: section {place}: {error}") from error
        if any(stream.kind not in codec.kinds for stream in streams):
            raise HeaderError(f"{self.source}: section {place} has a codec for other things; the file is damaged")
        stored, decoded = section.stored_bytes, section_bytes(codec, streams)
        try:
            check_expansion(f"section {place}", stored, decoded, SECTION_FLOOR, self.limits.expansion)
            self._budget.spend(place, codec.work(data, streams))
            return codec.decode(data, streams)
        except CodecError as error:
            raise CodecError(f"{self.source}: section {place}: {error}") from error
        except LimitExceededError as error:
            raise LimitExceededError(f"{self.source}: {error}") from error

    def group(self, place: int, decode: Callable[[], list[Array]]) -> list[Array]:
        """Return a group's parts, decoded on first use, and again where they weren't kept."""

        def make() -> tuple[list[Array], int]:
            parts = decode()
            return parts, sum(part.nbytes + _ARRAY_BYTES for part in parts)

        return self._groups.get(place, make, self.records[place].kind)

    def blob(self, kind: int) -> bytes | None:
        """Return the graph's or the metadata's bytes, or None where the file has none."""
        place = self.places.get((kind, 0, 0, 0))
        if place is None:
            return None
        if self.records[place].codec >= PRIVATE:
            raise HeaderError(f"{self.source}: section {place} has an impossible codec; the file is damaged")
        check = check_graph if kind == GRAPH else check_meta
        check(self.records[place].stored_bytes, self.records[place].count)
        return self.decode(place, [Stream("values", self.records[place].count)])[0].tobytes()

    def check(self) -> None:
        """Check every section's checksum, also of those read before, and the zeros between them."""
        for place in range(len(self.records)):
            self.stored(place, always=True)
        end = self.start
        for offset, section in zip(self.offsets, self.records, strict=True):
            if any(self.data[end:offset]):
                raise HeaderError(f"{self.source}: padding isn't zero; the file is damaged")
            end = offset + section.stored_bytes

    def release(self) -> None:
        """Let go of what is cached."""
        self._groups.clear()
