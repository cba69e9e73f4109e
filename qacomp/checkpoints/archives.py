"""Zip archives of torch's other than torch.save's: TorchScript and torch.export, told by their records."""

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from qacomp.checkpoints.exported_program import load_exported_program
from qacomp.checkpoints.torchscript_file import load_torchscript
from qacomp.errors import NotACheckpointError

if TYPE_CHECKING:
    from torch import Tensor

NOTES = {
    "torchscript": "a TorchScript archive: its weights were read, its code was neither loaded nor run",
    "exported program": "a torch.export archive: its weights were read, its graph was neither built nor run",
}


def archive_kind(path: Path, file: BinaryIO) -> str | None:
    """torchscript, exported program, or None for every other zip file. Raises NotACheckpointError for a broken one."""
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


def load_archive(path: Path, file: BinaryIO, kind: str, size: int) -> "dict[str, Tensor]":
    """The tensors of an archive of `kind` and `size` bytes. Raises NotACheckpointError and CheckpointError."""
    last = "/constants.pkl" if kind == "torchscript" else "/archive_format"
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
            if len(set(names)) != len(names):
                raise NotACheckpointError(f"{path}: a zip record stands in it twice; damaged?")
            stem = next(n for n in names if n.count("/") == 1 and n.endswith(last)).removesuffix(last[1:])
            load = load_torchscript if kind == "torchscript" else load_exported_program
            return load(path, archive, stem, size)
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError) as error:
        raise NotACheckpointError(f"{path}: a damaged zip file ({error}); copy or download it again") from error
