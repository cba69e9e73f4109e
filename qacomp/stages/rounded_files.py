"""Keep tensors that are rounded, and not coded yet, in the folder of a run's pieces."""

import hashlib
import zipfile
from pathlib import Path

import numpy as np

from qacomp.formats import SharedTensor
from qacomp.formats.destination import not_writable

_TEXTS, _ROUNDED = "texts.txt", ".rounded.npz"


def rounded_path(folder: Path, name: str) -> Path:
    """Return the file of a tensor: its name may be no name of a file."""
    return folder / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}{_ROUNDED}"


def read_rounded(path: Path) -> SharedTensor:
    """Return what `write_rounded` wrote."""
    with np.load(path, allow_pickle=False) as held:
        return SharedTensor(held["codebook"], held["indices"])


def write_rounded(path: Path, shared: SharedTensor) -> None:
    """Write a tensor of one codebook. Raises OutputNotWritableError."""
    part = path.with_suffix(".part")
    try:
        with part.open("wb") as file:
            np.savez(file, codebook=shared.codebook, indices=shared.indices)
        part.replace(path)
    except OSError as error:
        raise not_writable(part, error) from error


def keep_for(folder: Path, digest: str) -> None:
    """Remove what an interrupted run on other texts has left; digest: of these texts. Raises OutputNotWritableError."""
    mark = folder / _TEXTS
    try:
        others = not mark.is_file() or mark.read_text(errors="replace") != digest
        for path in (*(folder.glob("*.qac") if others else ()), *folder.glob(f"*{_ROUNDED}")):
            if others or not zipfile.is_zipfile(path):
                path.unlink()
        mark.write_text(digest)
    except OSError as error:
        raise not_writable(folder, error) from error
