"""Update containers by deltas: the small file that makes a new container of an old one, exactly."""

import mmap
import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from qacomp.calls import PathLike
from qacomp.formats import Container, FormatError, open_file, write_atomically
from qacomp.formats.deltas import Delta, delta_chunks, make_delta, read_delta, updated
from qacomp.formats.deltas.file import DIFFERENCE, REFERRED
from qacomp.formats.regular import open_regular
from qacomp.formats.sharded import ShardedContainer
from qacomp.outputs import Output, claim
from qacomp.progress import Progress, SilentProgress


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
    """A container that deltas made. deltas: how many; bytes: its size; delta_bytes: of all deltas together."""

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

    Its bytes are those of the container that the last delta was made for, which is checked before the file appears.
    force: replace a file at `output`. Raises WrongBaseError if a delta starts from another file (also if several are
    out of order), FormatError for a damaged file, and OutputNotWritableError.
    """
    paths = [Path(path) for path in ([deltas] if isinstance(deltas, str | os.PathLike) else deltas)]
    if not paths:
        raise ValueError("no delta is given")
    target = Path(output)
    claim([Output(target, "-o", "container")], [Path(old), *paths], force=force)
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


def _read(path: Path) -> Delta:
    """Read a delta file, which stays mapped into memory as long as the delta is in use."""
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
    return read_delta(memoryview(mapped), str(path))


def _whole(path: PathLike) -> Container:
    """Open a container that is one whole file. Raises FormatError for an index of shards."""
    container = open_file(path)
    if isinstance(container, ShardedContainer):
        container.close()
        raise FormatError(f"{path}: is an index of shards; make or apply a delta for each of its files")
    return container
