"""Read a numpy archive of images and labels, without pickles, and without trusting the sizes that it declares."""

import io
import math
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from qacomp.datasets.custom import source_from_arrays
from qacomp.datasets.registry import register_dataset
from qacomp.datasets.split import Source
from qacomp.errors import DataError

_NAMES = ("x_train", "y_train", "x_test", "y_test", "x_val", "y_val", "num_classes")
_MOST_HEADER = 1 << 16  # bytes that are read of an array's header; numpy accepts at most 10,000
_DEFLATE_LIMIT = 1100  # deflate expands at most 1032:1, so a larger declared size is false


@register_dataset("npz", argument="FILE")
def load_npz(argument: str) -> Source:
    """Read a numpy archive with x_train, y_train, x_test, y_test (optionally x_val, y_val)."""
    return source_from_arrays(f"npz: {argument}", read_arrays(Path(os.path.expanduser(argument)), _NAMES))


def read_arrays(path: Path, names: tuple[str, ...] | None = None) -> dict[str, NDArray[Any]]:
    """Read the arrays of an archive by name; with `names` only those of them that it has.

    If it has none of `names`, all names of the archive are returned with empty arrays, so that an error can list them.
    Raises DataError if the file is missing, damaged, or holds Python objects.
    """
    if not path.is_file():
        raise DataError(f"npz: {path} {'is not a file' if path.exists() else 'does not exist'}; give a .npz file")
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            wanted = members if names is None else [name for name in names if name in members]
            arrays = {name: _read(path, archive, members[name]) for name in wanted}
            return arrays or dict.fromkeys(members, np.empty(0))
    except DataError:
        raise
    except Exception as error:  # zipfile, each decompressor, and numpy's reader of headers raise errors of their own
        raise DataError(f"npz: {path} is not a readable numpy archive ({' '.join(str(error).split())})") from error


def _read(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> NDArray[Any]:
    with archive.open(info) as file:
        start = io.BytesIO(file.read(_MOST_HEADER))
    version = npy.read_magic(start)
    header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, fortran, dtype = header(start)
    with archive.open(info) as file:
        if any(side < 0 for side in shape):
            raise DataError(f"npz: {path}: {info.filename} has a shape with a negative axis; the file is damaged")
        if dtype.hasobject:
            raise DataError(f"npz: {path}: {info.filename} holds Python objects; store plain arrays")
        size = math.prod(shape) * dtype.itemsize
        if size > info.file_size or size > info.compress_size * _DEFLATE_LIMIT:
            raise DataError(
                f"npz: {path}: {info.filename} declares {size} bytes, more than the archive holds; the file is damaged"
            )
        file.read(start.tell())
        values = file.read(size)
        if len(values) != size:
            raise DataError(f"npz: {path}: {info.filename} is truncated ({len(values)} of {size} bytes); copy it again")
        file.read(1)  # read past the end, so that zipfile compares the checksum
    return np.frombuffer(values, dtype=dtype).reshape(shape, order="F" if fortran else "C")
