"""Create part files and folders beside an output while it is written, and remove those that killed processes left."""

import contextlib
import errno
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # this system has no file locks, so left-over part files can't be recognised and stay
    fcntl = None  # type: ignore[assignment]

_NAME = re.compile(r"\.qacomp-[0-9a-f]{16}\.part")
_EXCLUSIVE = os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
_ATTEMPTS = 100


@contextlib.contextmanager
def part_file(folder: Path, mode: int) -> Iterator[tuple[int, Path]]:
    """Create a new file in `folder` and yield (handle for writing, path); remove it at the end unless it was renamed.

    mode: its permissions, to which the process's umask is applied. The caller closes the handle. Raises OSError.
    """
    sweep(folder)
    handle, part = _made(folder, lambda path: os.open(path, os.O_WRONLY | _EXCLUSIVE, mode))
    try:
        yield handle, part
    finally:
        with contextlib.suppress(OSError):
            part.unlink()


@contextlib.contextmanager
def part_folder(folder: Path) -> Iterator[Path]:
    """Create a new folder in `folder` and yield its path; remove it with its contents at the end. Raises OSError."""
    sweep(folder)

    def make(path: Path) -> int:
        path.mkdir(0o700)
        return os.open(path, os.O_RDONLY)

    handle, made = _made(folder, make)
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)
        os.close(handle)


def sweep(folder: Path) -> None:
    """Remove part files and folders in `folder` that no process has locked: their process was killed."""
    if fcntl is None:
        return
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if _NAME.fullmatch(entry.name):
                _remove_unheld(Path(entry.path))


def _made(folder: Path, make: Callable[[Path], int]) -> tuple[int, Path]:
    """Create and lock a part file or folder with a free name; retry if another process removes it before the lock."""
    for _ in range(_ATTEMPTS):
        path = folder / f".qacomp-{secrets.token_hex(8)}.part"
        try:
            handle = make(path)
        except FileExistsError:
            continue
        if _locked(handle) is not False and path.exists():
            return handle, path
        os.close(handle)
    raise FileExistsError(errno.EEXIST, "no free name for a part file", str(folder))


def _locked(handle: int) -> bool | None:
    """Lock an open file and return whether that succeeded; None if the file system has no locks."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _remove_unheld(path: Path) -> None:
    with contextlib.suppress(OSError):
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            if _locked(handle):
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink()
        finally:
            os.close(handle)
