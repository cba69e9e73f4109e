"""Apply a delta: make the bytes of the new container from those of its base."""

from collections.abc import Callable, Iterator

from qacomp.formats import layout
from qacomp.formats.budget import Budget
from qacomp.formats.checksums import crc32
from qacomp.formats.container import Access, Container
from qacomp.formats.deltas.coding import restored
from qacomp.formats.deltas.file import DIFFERENCE, REFERRED, Delta, identity
from qacomp.formats.deltas.making import file_identity
from qacomp.formats.deltas.prediction import Base
from qacomp.formats.deltas.sections import SectionContents
from qacomp.formats.errors import ChecksumMismatchError, FormatError, HeaderError, WrongBaseError
from qacomp.formats.limits import Limits
from qacomp.formats.reader import parse
from qacomp.formats.records import VALUE_CHUNK, VALUES


class _Pieces:
    """The bytes of the new container, as far as they are made: its head, and its sections by offset."""

    def __init__(self, head: memoryview, size: int) -> None:
        self._size = size
        self._head = head
        self._sections: dict[int, memoryview] = {}

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, place: slice) -> memoryview:
        """Return the bytes of a slice that is in the head, or in a section that it begins with."""
        start, stop, _ = place.indices(self._size)
        if stop <= start:
            return memoryview(b"")
        found = self._sections.get(start, memoryview(b""))[: stop - start] if start else self._head[:stop]
        if start and stop <= len(self._head):
            found = self._head[start:stop]
        if len(found) < stop - start:
            raise HeaderError("a section is needed before it is made; the delta is damaged")
        return found

    def put(self, offset: int, section: memoryview) -> None:
        """Add a section, which isn't empty."""
        self._sections[offset] = section


class UpdatedFile:
    """The container that a delta makes. `chunks` yields its bytes; they are checked when the last one is taken."""

    def __init__(self, delta: Delta, container: Container, sections: list[memoryview]) -> None:
        self.delta = delta
        self._container, self._sections = container, sections

    def chunks(self) -> Iterator[bytes | memoryview]:
        """Yield the bytes of the new file. Raises ChecksumMismatchError at the end if it isn't the one promised."""
        if identity(self._chunks()) != self.delta.new:
            raise ChecksumMismatchError(f"{self.delta.source}: doesn't make the file that it promises; it is damaged")
        yield from self._chunks()

    def _chunks(self) -> Iterator[bytes | memoryview]:
        yield self.delta.head
        end = len(self.delta.head)
        offsets, _ = layout.offsets(self._container.header.sections, end)
        for offset, section in zip(offsets, self._sections, strict=True):
            yield bytes(offset - end)
            yield section
            end = offset + len(section)


def updated(
    delta: Delta, old: Container, limits: Limits | None = None, advance: Callable[[], None] = lambda: None
) -> UpdatedFile:
    """Return the new container that a delta makes of `old`, a whole file. advance: called for each section.

    Raises WrongBaseError if the delta starts from another file, and a FormatError that names the delta.
    """
    check_base(delta, old)
    limits = limits or Limits()
    try:
        return _updated(delta, old, limits, advance)
    except FormatError as error:
        if str(error).startswith((delta.source, old.source)):
            raise
        raise type(error)(f"{delta.source}: {error}") from error


def check_base(delta: Delta, old: Container) -> None:
    """Raise WrongBaseError unless a delta starts from this file."""
    found = file_identity(old)
    if found == delta.base:
        return
    if found == delta.new:
        raise WrongBaseError(f"{old.source}: already is the file that {delta.source} makes; there is nothing to apply")
    raise WrongBaseError(
        f"{old.source}: isn't what {delta.source} was made from; give that file, and deltas in their order"
    )


def _updated(delta: Delta, old: Container, limits: Limits, advance: Callable[[], None]) -> UpdatedFile:
    pieces = _Pieces(memoryview(delta.head), delta.new.size)
    container = parse(delta.source, pieces, Access(limits))
    records = container.header.sections
    if container.start != len(delta.head) or len(delta.steps) != len(records):
        raise HeaderError("its parts aren't those of the file that it makes; it is damaged")
    base, new, budget = Base(old), SectionContents(container), Budget(old.size + delta.size, limits, {})
    offsets, _ = layout.offsets(records, container.start)
    made = [memoryview(b"")] * len(records)
    used: set[int] = set()
    values_first = sorted(range(len(records)), key=lambda place: records[place].kind not in (VALUES, VALUE_CHUNK))
    for place in values_first:
        step, record = delta.steps[place], records[place]
        if step.method == REFERRED:
            if step.number in used or step.number >= len(old.header.sections):
                raise HeaderError(f"section {place} refers to none of the base, or to one again; it is damaged")
            used.add(step.number)
            section = old.stored(step.number)
        elif step.method == DIFFERENCE:
            section = memoryview(restored(memoryview(step.payload), place, new, base, budget, limits))
        else:
            section = memoryview(step.payload)
        if len(section) != record.stored_bytes or crc32(section) != record.crc:
            raise ChecksumMismatchError(f"section {place} isn't the one that the new file has; it is damaged")
        made[place] = section
        if len(section):
            pieces.put(offsets[place], section)
        advance()
    return UpdatedFile(delta, container, made)
