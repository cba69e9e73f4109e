"""Find the published files of a dataset; errors name the file that is missing."""

import os
from collections.abc import Sequence
from pathlib import Path

from qacomp.errors import DataError


def find_folder(kind: str, argument: str, below: Sequence[str], pattern: str) -> Path:
    """Return the first of the folders `argument/below[i]` that has a file matching `pattern`, else `argument` itself.

    Raises DataError if `argument` isn't a folder.
    """
    root = Path(os.path.expanduser(argument))  # a path with an unknown user isn't changed
    if not root.is_dir():
        what = "is a file, not a folder" if root.exists() else "does not exist"
        raise DataError(f"{kind}: {argument} {what}; give the folder that holds the published files")
    for name in below:
        folder = root / name
        if folder.is_dir() and next(folder.glob(pattern), None) is not None:
            return folder
    return root


def find_file(kind: str, folder: Path, names: Sequence[str]) -> Path:
    """Return the path of the first of `names` that exists in `folder`. Raise DataError, which names a missing file."""
    for name in names:
        if (folder / name).is_file():
            return folder / name
    others = f" (or {', '.join(names[1:])})" if len(names) > 1 else ""
    raise DataError(f"{kind}: {folder} has no file {names[0]}{others}; give the folder that holds the published files")
