"""Output files appear whole or not at all: written beside their place, flushed to disk, then renamed over it."""

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from qacomp.formats.errors import OutputNotWritableError


@contextlib.contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open `path` for writing so that it is replaced only when the block ends without an exception.

    Any exception, a full disk and Ctrl-C included, removes the part file and leaves what stood at `path` untouched.
    Raises OutputNotWritableError, naming the path, for every OSError of opening, writing or renaming.
    """
    target = Path(path)
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    done = False
    try:
        try:
            stream = open(part, "wb")  # noqa: SIM115 - closed below, before the rename
        except OSError as error:
            raise _not_writable(target, error) from error
        try:
            with stream:
                try:
                    yield stream
                    stream.flush()
                    os.fsync(stream.fileno())
                except OSError as error:
                    raise _not_writable(target, error) from error
            os.replace(part, target)
            done = True
        except OSError as error:
            raise _not_writable(target, error) from error
        _sync_folder(target.parent)
    finally:
        if not done:
            with contextlib.suppress(OSError):
                part.unlink()


def write_atomically(path: str | os.PathLike[str], chunks: Iterable[bytes | bytearray | memoryview]) -> int:
    """Write the chunks one after the other to `path`, whole or not at all, and return the bytes written.

    Raises OutputNotWritableError (missing folder, no permission, no space left); what stood there before stays then.
    """
    written = 0
    with atomic_file(path) as stream:
        for chunk in chunks:
            written += stream.write(chunk)
    return written


def _not_writable(target: Path, error: OSError) -> OutputNotWritableError:
    reason = error.strerror or type(error).__name__
    return OutputNotWritableError(f"{target}: can't be written ({reason}); choose another output path or free space")


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable, where the system lets a folder be synced."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
