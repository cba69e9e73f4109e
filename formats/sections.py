"""Read the sections of an open file: find them, check their checksums and decode them within the limits."""

from collections.abc import Callable, Sequence

from qacomp.formats import layout
from qacomp.formats.budget import Budget, check_expansion, check_graph, check_meta, section_bytes
from qacomp.formats.checksums import crc32
from qacomp.formats.codecs import PRIVATE, Stream, codec_of
from qacomp.formats.codecs.base import Array
from qacomp.formats.errors import (
    ChecksumMismatchError,
    CodecError,
    FormatError,
    HeaderError,
    LimitExceededError,
    TruncatedFileError,
    UnsupportedVersionError,
)
from qacomp.formats.group_cache import GroupCache, check_work
from qacomp.formats.limits import SECTION_FLOOR, Limits
from qacomp.formats.mapped_pages import MappedPages
from qacomp.formats.merkle import leaf_hash
from qacomp.formats.native_sections import decode_native, native_wanted
from qacomp.formats.ranges import Data
from qacomp.formats.records import GRAPH, Header

Job = tuple[int, Sequence[Stream]]
"""A section to decode: its place and its streams."""

_ARRAY_BYTES = 256  # memory of a numpy array besides its values, rounded up


class Sections:
    """A file's sections by place (a section's number in the file); each one is checked when it is first read.

    start: offset in bytes at which the first section may begin. Raises HeaderError unless the sections are exactly
    those that the tensors need, and LimitExceededError. The data of a file that is cut off ends before `end`.
    """

    def __init__(self, source: str, data: Data, header: Header, start: int, limits: Limits, verify: bool) -> None:
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
        self._leaves = [section.leaf for section in header.sections] if header.leaves else None
        self._checked: set[int] = set()
        self._groups = GroupCache[int, list[Array]]()
        self._batches: dict[int, Sequence[Job]] = {}
        self._ready: dict[int, list[Array]] = {}
        self._pages: MappedPages | None = None

    def read_from(self, pages: MappedPages) -> None:
        """Give back the pages of the map that the data is in, as it is read."""
        self._pages = pages

    def place(self, kind: int, level: int, owner: int, chunk: int = 0) -> int:
        """Return the place of a section, which must exist."""
        return self.places[(kind, level, owner, chunk)]

    @property
    def levels(self) -> int:
        """Return the number of levels that the sections have."""
        return max((section.level for section in self.records), default=0) + 1

    def complete_levels(self) -> int:
        """Count the complete levels: those whose sections all end within the bytes of the file."""
        ends = [offset + section.stored_bytes for offset, section in zip(self.offsets, self.records, strict=True)]
        cut = [s.level for s, end in zip(self.records, ends, strict=True) if end > len(self.data)]
        return min(cut, default=self.levels)

    def stored(self, place: int, always: bool = False) -> memoryview:
        """Return a section's stored bytes; checksum and leaf hash are checked the first time, or always.

        They are always checked on `always`, and if the bytes are fetched: a server may send others the next time.
        """
        section, offset = self.records[place], self.offsets[place]
        if offset + section.stored_bytes > len(self.data):
            raise TruncatedFileError(
                f"{self.source}: is cut off before the end of section {place} ({len(self.data)} of {self.end} bytes);"
                " fetch the file again"
            )
        if self._pages is not None:
            self._pages.touch(section.stored_bytes)
        data = self.data[offset : offset + section.stored_bytes]
        known = place in self._checked and isinstance(self.data, memoryview)
        if always or (self.verify and not known):
            if crc32(data) != section.crc:
                raise ChecksumMismatchError(f"{self.source}: section {place} is damaged; fetch the file again")
            if self._leaves is not None and leaf_hash(data) != self._leaves[place]:
                raise ChecksumMismatchError(
                    f"{self.source}: section {place} isn't the one that its leaf hash is of: it was changed; fetch the"
                    " file from a place that you trust"
                )
            self._checked.add(place)
        return data

    def leaves(self) -> list[bytes]:
        """Return the leaf hashes of all sections. A file without them is read whole; later reads are held to them."""
        if self._leaves is None:
            self._leaves = [leaf_hash(self.stored(place)) for place in range(len(self.records))]
        return self._leaves

    def expect(self, batch: Sequence[Job]) -> None:
        """Decode these sections, of one codec, together as soon as one of them is decoded."""
        self._batches.update((place, batch) for place, _ in batch)

    def decode(self, place: int, streams: Sequence[Stream]) -> list[Array]:
        """Check memory and work against the limits, then decode a section to its streams. Raises a FormatError."""
        if place in self._batches and not native_wanted():
            batch = self._batches[place]
            for expected, _ in batch:
                self._batches.pop(expected)
            try:
                payloads = [(self.payload(*job), job[1]) for job in batch]
                decoded = codec_of(self.records[place].codec).decode_many(payloads)
            except FormatError:
                decoded = []  # the section that can't be decoded raises its error when it is requested
            self._ready.update((job[0], parts) for job, parts in zip(batch, decoded, strict=False))
        if place in self._ready:
            return self._ready.pop(place)
        data, codec = self.payload(place, streams), self.records[place].codec
        if native_wanted() and (found := decode_native(codec, data, streams)) is not None:
            return found
        try:
            return codec_of(codec).decode(data, streams)
        except CodecError as error:
            raise CodecError(f"{self.source}: section {place}: {error}") from error

    def payload(self, place: int, streams: Sequence[Stream]) -> memoryview:
        """Return the stored bytes of a section that may be decoded: its codec is known, and it is within the limits."""
        section, data = self.records[place], self.stored(place)
        try:
            codec = codec_of(section.codec)
        except UnsupportedVersionError as error:
            raise UnsupportedVersionError(f"{self.source}: section {place}: {error}") from error
        if any(stream.kind not in codec.kinds for stream in streams):
            raise HeaderError(f"{self.source}: section {place} can't have the codec {codec.name}; the file is damaged")
        stored, decoded = section.stored_bytes, section_bytes(codec, streams)
        try:
            check_expansion(f"section {place}", stored, decoded, SECTION_FLOOR, self.limits.expansion)
            self._budget.spend(place, codec.work(data, streams))
        except CodecError as error:
            raise CodecError(f"{self.source}: section {place}: {error}") from error
        except LimitExceededError as error:
            raise LimitExceededError(f"{self.source}: {error}") from error
        return data

    def group(self, place: int, decode: Callable[[], list[Array]]) -> list[Array]:
        """Return a group's parts from the cache, or call `decode` if they aren't in it."""

        def make() -> tuple[list[Array], int]:
            parts = decode()
            return parts, sum(part.nbytes + _ARRAY_BYTES for part in parts)

        return self._groups.get(place, make, self.records[place].kind)

    def blob(self, kind: int) -> bytes | None:
        """Return the graph's or the metadata's bytes, or None if the file has none."""
        place = self.places.get((kind, 0, 0, 0))
        if place is None:
            return None
        if self.records[place].codec >= PRIVATE:
            raise HeaderError(
                f"{self.source}: section {place} has a codec that isn't allowed for graph and metadata; the file is"
                " damaged"
            )
        check = check_graph if kind == GRAPH else check_meta
        check(self.records[place].stored_bytes, self.records[place].count)
        return self.decode(place, [Stream("values", self.records[place].count)])[0].tobytes()

    def check(self) -> None:
        """Check the checksums of all sections, also of those read before, and that all padding is zero."""
        for place in range(len(self.records)):
            self.stored(place, always=True)
        end = self.start
        for offset, section in zip(self.offsets, self.records, strict=True):
            if any(self.data[end:offset]):
                raise HeaderError(f"{self.source}: the padding at byte {end} isn't zero; the file is damaged")
            end = offset + section.stored_bytes

    def release(self) -> None:
        """Drop all cached groups and decoded sections."""
        self._groups.clear()
        self._batches.clear()
        self._ready.clear()
