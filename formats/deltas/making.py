"""Make the delta between two containers: each section in the form that takes the fewest bytes."""

from collections.abc import Callable, Sequence

from qacomp.formats.codec_choice import LEAVE_OUT
from qacomp.formats.codecs import CODECS
from qacomp.formats.codecs.lzma import Lzma
from qacomp.formats.codecs.mixing import Mixing
from qacomp.formats.codecs.planes import Planes
from qacomp.formats.codecs.trellis import Trellis
from qacomp.formats.codecs.zstd import Zstd
from qacomp.formats.container import Container
from qacomp.formats.deltas.coding import difference
from qacomp.formats.deltas.file import DIFFERENCE, REFERRED, WHOLE, Delta, FileIdentity, Step, identity
from qacomp.formats.deltas.prediction import Base
from qacomp.formats.deltas.sections import SectionContents

_SINCE = {Trellis.id: 1, Mixing.id: 2}  # the minor versions that came with differences of these codecs
_PART = 1 << 22  # bytes that are read at once
_HEADER_CODEC = 6  # offset of the id of the header's codec in a container


def make_delta(old: Container, new: Container, advance: Callable[[], None] = lambda: None) -> Delta:
    """Return the delta that makes the container `new` of `old`; both are whole files. advance: called for each section.

    Raises a FormatError for a damaged container.
    """
    base, contents = Base(old), SectionContents(new)
    referred, left_out = _Sections(old), _left_out(old, new)
    planes = Planes().without([name.removeprefix(LEAVE_OUT) for name in left_out])
    steps = []
    for place in range(len(new.header.sections)):
        stored = new.stored(place)
        step = Step(WHOLE, payload=stored)
        if (number := referred.equal_to(new, place)) is not None:
            step = Step(REFERRED, number=number)
        elif (coded := difference(place, contents, base, planes)) is not None and len(coded) < len(stored):
            step = Step(DIFFERENCE, payload=coded)
        steps.append(step)
        advance()
    head = new.data[: new.start]
    version = version_of(new, steps)
    return Delta(
        "delta", file_identity(old), file_identity(new), head, tuple(steps), left_out=left_out, version=version
    )


def version_of(new: Container, steps: Sequence[Step]) -> tuple[int, int]:
    """Return the lowest version that a delta with these steps needs: some codecs' differences came later than 1.0."""
    pairs = zip(new.header.sections, steps, strict=True)
    return 1, max((_SINCE.get(section.codec, 0) for section, step in pairs if step.method == DIFFERENCE), default=0)


def _left_out(old: Container, new: Container) -> tuple[str, ...]:
    """Return the names that leave out the codecs which neither file needs, as the device may not have them."""
    used = {section.codec for file in (old, new) for section in file.header.sections}
    used |= {bytes(file.data[_HEADER_CODEC : _HEADER_CODEC + 1])[0] for file in (old, new)}
    return tuple(LEAVE_OUT + codec.name for codec in (CODECS[Zstd.id], CODECS[Lzma.id]) if codec.id not in used)


def file_identity(container: Container) -> FileIdentity:
    """Return the identity of a whole container."""
    data = container.data
    return identity(data[start : start + _PART] for start in range(0, len(data), _PART))


class _Sections:
    """The sections of the base by their bytes; each one is referred to at most once."""

    def __init__(self, container: Container) -> None:
        self._container = container
        self._places: dict[tuple[int, int], list[int]] = {}
        for place, section in enumerate(container.header.sections):
            self._places.setdefault((section.stored_bytes, section.crc), []).append(place)

    def equal_to(self, other: Container, place: int) -> int | None:
        """Return the number of a section with the bytes of another container's one; None if there is none left."""
        section = other.header.sections[place]
        left = self._places.get((section.stored_bytes, section.crc), [])
        for number in left:
            if self._container.stored(number) == other.stored(place):
                left.remove(number)
                return number
        return None
