"""Open inputs as regular files only: reading a pipe could wait forever, and a device may have no end."""

import io
import os
import stat
from pathlib import Path

from qacomp.formats.errors import IrregularFileError

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
_NO_WAITING = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)


def irregular_kind(mode: int) -> str | None:
    """Return the kind of a file mode that isn't a regular file, such as "a pipe"; None for a file or a link."""
    return next((word for test, word in _KINDS if test(mode)), None)


def open_regular(path: str | os.PathLike[str]) -> io.BufferedReader:
    """Open a regular file, or a link to one, for reading its bytes.

    Raises IrregularFileError, without opening it, for a folder, pipe, socket or device, and OSError.
    """
    _check(path, os.stat(path).st_mode)
    file = os.fdopen(os.open(path, os.O_RDONLY | _NO_WAITING), "rb")
    try:
        _check(path, os.fstat(file.fileno()).st_mode)
    except IrregularFileError:
        file.close()
        raise
    return file


def read_small(path: str | os.PathLike[str], most: int) -> bytes:
    """Return all bytes of a regular file. Raises IrregularFileError, also if it has over `most` bytes, and OSError."""
    with open_regular(path) as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise IrregularFileError(f"{Path(path)}: has more than {most:,} bytes; is it the right file?")
    return data


def _check(path: str | os.PathLike[str], mode: int) -> None:
    kind = irregular_kind(mode)
    if kind is not None:
        what = "give a file in it" if stat.S_ISDIR(mode) else "save its contents to a file and give that"
        raise IrregularFileError(f"{Path(path)}: is {kind}, not a file; {what}")
