"""Write output files whole or not at all: a part file beside the target is flushed to disk, then renamed."""

import contextlib
import ctypes
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from qacomp.formats.destination import destination, not_writable
from qacomp.formats.scratch import part_file, part_folder

_HERE, _EXCHANGE = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of linux/fcntl.h and linux/fs.h


@contextlib.contextmanager
def atomic_file(path: str | os.PathLike[str], *, durable: bool = True) -> Iterator[BinaryIO]:
    """Open `path` for writing; the file is replaced only when the block ends without an exception.

    Any exception (also a full disk or Ctrl-C) removes the part file and leaves the old file at `path` untouched. A
    killed process leaves its part file behind; the next process that writes into that folder removes it. A link
    is followed. A file that is replaced keeps its permissions. durable: wait until the disk has the file. Raises
    OutputNotWritableError, which names the path, if `destination` refuses the path, and for every OSError of opening,
    writing or renaming.
    """
    target = destination(path)
    with _named(path), part_file(target.parent, 0o600 if target.exists() else 0o666) as (handle, part):
        with os.fdopen(handle, "wb") as stream:
            yield stream
            stream.flush()
            if durable:
                os.fsync(stream.fileno())
            _replace(part, target)
        if durable:
            _sync(target.parent)


@contextlib.contextmanager
def atomic_files(*paths: Path) -> Iterator[tuple[Path, ...]]:
    """Yield one path to write to for each of several files, and move all files into place when the block ends.

    The yielded paths have the files' own names and lie in a temporary folder beside the first file. If the block or
    the disk fails, the old files stay untouched. Raises OutputNotWritableError.
    """
    targets = [destination(path) for path in paths]
    with _named(paths[0]), part_folder(targets[0].parent) as folder:
        made = tuple(folder / path.name for path in paths)
        yield made
        moved_into_place(dict(zip(made, targets, strict=True)))


def moved_into_place(made: Mapping[Path, Path]) -> None:
    """Flush files to disk, then rename each to its target in one folder, one right after the other. Raises OSError."""
    for path in made:
        with path.open("rb") as file:
            os.fsync(file.fileno())
    for path, target in made.items():
        _replace(path, target)
    for folder in {target.parent for target in made.values()}:
        _sync(folder)


@contextlib.contextmanager
def atomic_folder(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """Yield a new folder to fill, and move it to `path` when the block ends without an exception.

    An empty folder at `path` is replaced. Another one is replaced only with `replace`: the two change places at once
    where the system can do that. Else the old one is moved away first, and moved back if the new one can't take its
    place; only a kill between the two renames loses it. Raises OutputNotWritableError, also if something else is at
    `path`.
    """
    with _named(path), part_folder(path.parent) as part:
        made = part / "new"
        made.mkdir()
        yield made
        for folder, _, files in os.walk(made, topdown=False):
            for name in files:
                with open(os.path.join(folder, name), "rb") as file:
                    os.fsync(file.fileno())
            _sync(Path(folder))
        if replace and path.is_dir() and any(path.iterdir()):
            if not _exchanged(made, path):
                _put_in_place(made, path, part / "old")
        else:
            if path.is_dir():
                path.rmdir()
            os.rename(made, path)
        _sync(path.parent)


def _put_in_place(made: Path, path: Path, old: Path) -> None:
    """Move the folder at `path` to `old` and `made` to `path`; the first one comes back if the second can't move."""
    os.rename(path, old)
    try:
        os.rename(made, path)
    except BaseException:
        os.rename(old, path)
        raise


def _exchanged(one: Path, other: Path) -> bool:
    """Let two folders change places in one step; return False, with both as they were, where the system can't."""
    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):  # another system than Linux, or an old libc
        return False
    return bool(call(_HERE, os.fsencode(one.absolute()), _HERE, os.fsencode(other.absolute()), _EXCHANGE) == 0)


def write_atomically(path: str | os.PathLike[str], chunks: Iterable[bytes | bytearray | memoryview]) -> int:
    """Write the chunks one after the other to `path`, whole or not at all, and return the number of bytes written.

    Raises OutputNotWritableError (missing folder, no permission, no space left); the old file then stays.
    """
    written = 0
    with atomic_file(path) as stream:
        for chunk in chunks:
            written += stream.write(chunk)
    return written


@contextlib.contextmanager
def _named(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn an OSError into an OutputNotWritableError that names the output."""
    try:
        yield
    except OSError as error:
        raise not_writable(path, error) from error


def _replace(made: Path, target: Path) -> None:
    """Rename a finished file over its target; it takes the target's permissions and, if allowed, its owner."""
    with contextlib.suppress(FileNotFoundError):
        before, own = os.stat(target), os.stat(made)
        if (before.st_uid, before.st_gid) != (own.st_uid, own.st_gid):
            with contextlib.suppress(OSError):
                os.chown(made, before.st_uid, before.st_gid)
        os.chmod(made, stat.S_IMODE(before.st_mode) & 0o777)
    os.replace(made, target)


def _sync(folder: Path) -> None:
    """Flush a folder to disk so that a rename in it is durable; does nothing if the system can't do that."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
