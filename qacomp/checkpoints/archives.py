"""Recognise and read TorchScript and torch.export archives: zip files with other records than those of torch.save."""

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from qacomp.checkpoints.exported_program import load_exported_program
from qacomp.checkpoints.torchscript_file import load_torchscript
from qacomp.errors import NotACheckpointError

if TYPE_CHECKING:
    from torch import Tensor

_LONGEST_END = (1 << 16) + 22 + 20 + 56  # bytes at a zip file's end: comment, end record, zip64 locator and record
_LARGEST_DIRECTORY = 16 << 20  # bytes; enough for about 200,000 records with the names that torch gives
NOTES = {
    "torchscript": "a TorchScript archive: its weights were read, its code was neither loaded nor run",
    "exported program": "a torch.export archive: its weights were read, its graph was neither built nor run",
}


def archive_kind(path: Path, file: BinaryIO) -> str | None:
    """Return "torchscript", "exported program", or None for any other zip file. Raises NotACheckpointError."""
    _check_directory(path, file)
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise NotACheckpointError(f"{path}: a damaged zip file ({error}); copy or download it again") from error
    if any(name.count("/") == 1 and name.endswith("/constants.pkl") for name in names):
        return "torchscript"
    if any(name.count("/") == 1 and name.endswith("/archive_format") for name in names):
        return "exported program"
    return None


def _check_directory(path: Path, file: BinaryIO) -> None:
    """Raise NotACheckpointError if the zip file's list of records is larger than any archive needs.

    Its size is in the end record, or in that of the zip64 form. In memory the list takes about ten times as much.
    """
    size = file.seek(0, 2)
    file.seek(max(0, size - _LONGEST_END))
    tail = file.read(_LONGEST_END)
    at = tail.rfind(b"PK\x05\x06")
    listed = int.from_bytes(tail[at + 12 : at + 16], "little") if at >= 0 else 0
    if at >= 20 and tail[at - 20 : at - 16] == b"PK\x06\x07":
        place = int.from_bytes(tail[at - 12 : at - 4], "little")
        file.seek(min(place, size))
        listed = max(listed if listed < 0xFFFFFFFF else 0, int.from_bytes(file.read(56)[40:48], "little"))
    file.seek(0)
    if listed > _LARGEST_DIRECTORY:
        raise NotACheckpointError(
            f"{path}: its list of zip records takes {listed} bytes, too many for a checkpoint; damaged?"
        )


def load_archive(path: Path, file: BinaryIO, kind: str, size: int) -> "dict[str, Tensor]":
    """Return the tensors of an archive; size: bytes of the file. Raises NotACheckpointError and CheckpointError."""
    last = "/constants.pkl" if kind == "torchscript" else "/archive_format"
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
            if len(set(names)) != len(names):
                raise NotACheckpointError(f"{path}: it has two zip records with the same name; damaged?")
            stem = next(n for n in names if n.count("/") == 1 and n.endswith(last)).removesuffix(last[1:])
            load = load_torchscript if kind == "torchscript" else load_exported_program
            return load(path, archive, stem, size)
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError) as error:
        raise NotACheckpointError(f"{path}: a damaged zip file ({error}); copy or download it again") from error
