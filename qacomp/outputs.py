"""Whether an output file can be written, found out before hours of work rather than after."""

import os
from pathlib import Path

from qacomp.errors import OutputNotWritableError


def check_writable(path: Path) -> None:
    """Raise OutputNotWritableError where `path` can't be created or replaced; nothing is written."""
    folder = path.parent
    if path.is_dir():
        raise OutputNotWritableError(f"{path}: is a folder; give -o a file name")
    if not folder.is_dir():
        raise OutputNotWritableError(f"{path}: the folder {folder} doesn't exist; create it or change -o")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputNotWritableError(f"{path}: no permission to write in {folder}; change -o")


def make_folder(path: Path) -> None:
    """Make the folder `path` and those above it. Raises OutputNotWritableError."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputNotWritableError(f"{path}: can't be made ({error.strerror}); choose another folder") from error
