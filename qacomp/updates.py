"""Update containers by deltas: the small file that makes a new container of an old one, exactly."""

import mmap
import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from qacomp.calls import PathLike
from qacomp.errors import RemoteError
from qacomp.formats import Container, FormatError, layout, open_file, write_atomically
from qacomp.formats.deltas import Delta, delta_chunks, make_delta, read_delta, updated
from qacomp.formats.deltas.file import DIFFERENCE, REFERRED
from qacomp.formats.prefix import CONTAINER
from qacomp.formats.regular import open_regular
from qacomp.formats.sharded import ShardedContainer
from qacomp.outputs import Output, claim
from qacomp.progress import Progress, SilentProgress
from qacomp.remote.http import pieces
from qacomp.remote.opening import open_file as open_remote
from qacomp.remote.opening import remote_file
from qacomp.remote.urls import url_of

_LARGEST = 1 << 30  # bytes of a delta that is fetched into memory


@dataclass(frozen=True)
class MadeDelta:
    """A delta that was written. bytes: its size; base_bytes, new_bytes: of the two containers.

    equal, differences, whole: how many sections of the new one are the base's, differences, and stored whole.
    """

    output: Path
    bytes: int
    base_bytes: int
    new_bytes: int
    equal: int
    differences: int
    whole: int

    @property
    def share(self) -> float:
        """Return the bytes of the delta over those of the new container."""
        return self.bytes / self.new_bytes

    def to_json(self) -> dict[str, Any]:
        """Return the document that `delta --json` prints."""
        return {**asdict(self), "output": str(self.output), "share": self.share}


@dataclass(frozen=True)
class Updated:
    """A container that deltas made. deltas: how many; bytes: its size; delta_bytes: of all deltas together.

    Of a container that was updated by ranges, deltas is 0, and delta_bytes are those that were fetched.
    """

    output: Path
    deltas: int
    bytes: int
    delta_bytes: int

    def to_json(self) -> dict[str, Any]:
        """Return the document that `apply --json` prints."""
        return {**asdict(self), "output": str(self.output)}


def delta(
    old: PathLike, new: PathLike, output: PathLike, *, force: bool = False, progress: Progress | None = None
) -> MadeDelta:
    """Write the delta that makes the container `new` of `old`; `apply` gives the very bytes of `new` again.

    Sections that both have are referred to; indices and values of tensors with the same name are stored as differences;
    the rest is stored whole. force: replace a file at `output`. Raises FormatError for a damaged container, and
    OutputNotWritableError.
    """
    target = Path(output)
    claim([Output(target, "-o", "delta")], [Path(old), Path(new)], force=force)
    with _whole(old) as base, _whole(new) as container:
        sections = len(container.header.sections)
        with (progress or SilentProgress()).task("sections", sections) as task:
            made = make_delta(base, container, task.advance)
        written = write_atomically(target, delta_chunks(made))
        methods = [step.method for step in made.steps]
        equal, differences = methods.count(REFERRED), methods.count(DIFFERENCE)
        return MadeDelta(target, written, base.size, container.size, equal, differences, sections - equal - differences)


def apply(
    old: PathLike,
    deltas: PathLike | Sequence[PathLike],
    output: PathLike,
    *,
    force: bool = False,
    progress: Progress | None = None,
) -> Updated:
    """Apply a delta to the container `old`, or several ones in order, and write the new container.

    Its bytes are those of the container that the last delta was made for, which is checked before the file appears. A
    delta may be a URL. Instead of deltas the URL of the new container itself may be given: then only the sections are
    fetched that `old` doesn't have.
    force: replace a file at `output`. Raises WrongBaseError if a delta starts from another file (also if several are
    out of order), FormatError for a damaged file, RemoteError, and OutputNotWritableError.
    """
    paths = [Path(path) for path in ([deltas] if isinstance(deltas, str | os.PathLike) else deltas)]
    if not paths:
        raise ValueError("no delta is given")
    target = Path(output)
    local = [path for path in paths if url_of(path) is None]
    claim([Output(target, "-o", "container")], [Path(old), *local], force=force)
    if len(paths) == 1 and (url := url_of(paths[0])) is not None and _is_container(url):
        return _by_ranges(old, url, target, progress or SilentProgress())
    with ExitStack() as stack:
        read = [_read(path) for path in paths]
        container: Container = stack.enter_context(_whole(old))
        for number, one in enumerate(read):
            with (progress or SilentProgress()).task("sections", len(one.steps)) as task:
                made = updated(one, container, advance=task.advance)
            if number < len(read) - 1:
                between = b"".join(made.chunks())
                container = stack.enter_context(open_file(between))
        written = write_atomically(target, made.chunks())
    return Updated(target, len(read), written, sum(one.size for one in read))


def _by_ranges(old: PathLike, url: str, target: Path, progress: Progress) -> Updated:
    """Write the container at a URL, of which only sections that `old` doesn't have are fetched; then all is checked."""
    with _whole(old) as base, open_remote(url) as new:
        if isinstance(new, ShardedContainer):
            raise FormatError(f"{url}: is an index of shards; update each of its files")
        known: dict[tuple[int, int], int] = {}
        for place, section in enumerate(base.header.sections):
            known.setdefault((section.stored_bytes, section.crc), place)
        records = new.header.sections
        offsets, _ = layout.offsets(records, new.start)
        made, fetched = bytearray(new.data[: new.start]), new.start
        with progress.task("sections", len(records)) as task:
            for place, (record, offset) in enumerate(zip(records, offsets, strict=True)):
                own = known.get((record.stored_bytes, record.crc))
                made += bytes(offset - len(made))
                made += new.stored(place) if own is None else base.stored(own)
                fetched += record.stored_bytes if own is None else 0
                task.advance()
        with open_file(made) as whole:
            whole.check()
    return Updated(target, 0, write_atomically(target, [made]), fetched)


def _is_container(url: str) -> bool:
    """Return whether a container is there, of which parts can be fetched."""
    try:
        source = remote_file(url)
    except RemoteError:
        return False  # perhaps a delta from a server that sends no parts; `_read` tells what is wrong
    return source.fetch(0, min(len(CONTAINER.magic), source.size)) == CONTAINER.magic


def _read(path: Path) -> Delta:
    """Read a delta file, which stays mapped into memory as long as the delta is in use; fetch it from a URL."""
    if (url := url_of(path)) is not None:
        return read_delta(memoryview(_fetched(url)), url)
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
    return read_delta(memoryview(mapped), str(path))


def _fetched(url: str) -> bytes | bytearray:
    """Fetch a delta, also from a web server that sends no parts of files. Raises RemoteError."""
    try:
        source = remote_file(url)
    except RemoteError:
        if not url.startswith(("http://", "https://")):
            raise
        data = bytearray()
        for piece, size in pieces(url):
            data += piece
            if data.startswith(CONTAINER.magic):
                raise  # the reason why no parts of the container can be fetched
            if max(len(data), size or 0) > _LARGEST:
                raise _too_large(url, max(len(data), size or 0)) from None
        return data
    if source.size > _LARGEST:
        raise _too_large(url, source.size)
    return source.fetch(0, source.size)


def _too_large(url: str, size: int) -> RemoteError:
    return RemoteError(f"{url}: has {size:,} bytes or more, too many for a delta; fetch it to a file")


def _whole(path: PathLike) -> Container:
    """Open a container that is one whole file. Raises FormatError for an index of shards."""
    container = open_file(path)
    if isinstance(container, ShardedContainer):
        container.close()
        raise FormatError(f"{path}: is an index of shards; make or apply a delta for each of its files")
    return container
