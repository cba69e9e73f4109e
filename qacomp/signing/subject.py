"""Find what is signed for what a user gives: a container, the index of one in several files, or a folder."""

import os
from pathlib import Path

from qacomp.calls import PathLike
from qacomp.errors import RemoteError, SignatureError
from qacomp.formats import open_file
from qacomp.formats.shard_index import is_shard_index, read_shard_index
from qacomp.remote.urls import url_of


def subject(path: PathLike) -> Path:
    """Return the file or folder that is hashed: links to it are followed, since a link itself isn't signed.

    The index of a container in several files stands for all of them, whose roots it binds: they are checked. Raises
    FormatError for a file that is no container, SignatureError for an empty folder, RemoteError for a URL, OSError.
    """
    if (url := url_of(path)) is not None:
        raise RemoteError(f"{url}: can't be signed there; fetch it, and sign the file")
    found = Path(os.path.realpath(path, strict=True))
    if found.is_dir():
        if not any(file.is_file() for file in found.rglob("*")):
            raise SignatureError(f"{path}: has no files to sign; give a container or a folder with files")
        return found
    root = read_shard_index(found).root if is_shard_index(found) else None
    with open_file(found, root=root) as container:
        _ = container.sections  # opens all shards, and so checks that they are those of the index
    return found


def root_of_signed(path: Path) -> str | None:
    """Return the root of a container, or of the index of one in several files; None for a folder. Raises FormatError.

    A signature of an index signs the shards only by way of their roots, so that the index must be read with its own.
    """
    if path.is_dir():
        return None
    if is_shard_index(path):
        return read_shard_index(path).root
    with open_file(path) as container:
        return container.root
