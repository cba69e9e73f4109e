"""Find the file that an output path means: the path itself, or the regular file that it links to."""

import os
import stat
from pathlib import Path

from qacomp.formats.errors import OutputNotWritableError
from qacomp.formats.regular import irregular_kind
from qacomp.formats.system_errors import advice, words

_MOST_LINKS = 40  # as many as Linux follows


def destination(path: str | os.PathLike[str]) -> Path:
    """Return the file to write for the output `path`: `path` itself, or the regular file that a link leads to.

    Raises OutputNotWritableError for a folder, pipe, socket or device, for a link to one of them, for a link to a file
    that doesn't exist, and for a link that another user (not root) made.
    """
    target = Path(path)
    for _ in range(_MOST_LINKS):
        try:
            status = os.lstat(target)
        except FileNotFoundError:
            if target != Path(path):
                raise OutputNotWritableError(
                    f"{path}: a link to {target}, which doesn't exist; give the path of the file itself"
                ) from None
            return target
        except (OSError, ValueError) as error:
            raise not_writable(path, error) from error
        if not stat.S_ISLNK(status.st_mode):
            kind = irregular_kind(status.st_mode)
            if kind is not None:
                linked = "" if target == Path(path) else f" links to {target},"
                raise OutputNotWritableError(f"{path}:{linked} is {kind}, not a file; choose another output path")
            return target
        if status.st_uid not in (os.geteuid(), 0):
            raise OutputNotWritableError(
                f"{target}: a link that another user made; give the path of the file itself, {os.readlink(target)}"
            )
        target = target.parent / os.readlink(target)
    raise OutputNotWritableError(f"{path}: links that lead in a circle; give the path of the file itself")


def not_writable(path: str | os.PathLike[str], error: OSError | ValueError) -> OutputNotWritableError:
    """Return the error for an output that the system refuses: it names the path, the reason and what to do."""
    said = f"({words(error)}); {advice(error)}" if isinstance(error, OSError) else f"({error}); give another name"
    return OutputNotWritableError(f"{os.fspath(path)}: can't be written {said}")
