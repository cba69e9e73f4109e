"""MNIST's idx files, and those of data sets with the same layout (Fashion-MNIST, KMNIST)."""

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from qacomp.datasets._files import find_file, find_folder
from qacomp.datasets.registry import register_dataset
from qacomp.datasets.split import Source, Split
from qacomp.errors import DataError

_UNSIGNED_BYTE = 0x08
_LARGEST_BYTES = 4 << 30


@register_dataset("mnist", argument="DIR", files="**/*-ubyte*")
def load_mnist(argument: str) -> Source:
    """Read MNIST's four idx files (or Fashion-MNIST's), gzipped or not, under their published names."""
    folder = find_folder("mnist", argument, ("", "raw", "MNIST/raw", "FashionMNIST/raw"), "*-ubyte*")
    return Source(train=_part(folder, "train"), test=_part(folder, "t10k"), num_classes=10)


def _part(folder: Path, prefix: str) -> Split:
    images = _read(folder, f"{prefix}-images", dimensions=3)
    labels = _read(folder, f"{prefix}-labels", dimensions=1)
    return Split(images, labels.astype(np.int64))


def _read(folder: Path, stem: str, dimensions: int) -> NDArray[np.uint8]:
    names = [f"{stem}{mark}idx{dimensions}-ubyte{suffix}" for mark in "-." for suffix in ("", ".gz")]
    return read_idx(find_file("mnist", folder, names), dimensions)


def read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """Read an idx file of unsigned bytes with `dimensions` axes, gzipped or not. Raise DataError for any other file."""
    try:
        with path.open("rb") as raw:
            zipped = raw.read(2) == b"\x1f\x8b"
        with gzip.open(path, "rb") if zipped else path.open("rb") as file:
            return _read_stream(path, file, dimensions)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: can't be read ({' '.join(str(error).split())})") from error


def _read_stream(path: Path, file: "IO[bytes] | gzip.GzipFile", dimensions: int) -> NDArray[np.uint8]:
    header = file.read(4 + 4 * dimensions)
    if len(header) < 4 + 4 * dimensions or header[:4] != bytes((0, 0, _UNSIGNED_BYTE, dimensions)):
        raise DataError(f"{path}: not an idx file of unsigned bytes with {dimensions} dimensions")
    shape = struct.unpack(f">{dimensions}I", header[4:])
    size = math.prod(shape)
    if size > _LARGEST_BYTES:
        raise DataError(
            f"{path}: its header declares {size} bytes, more than the limit of {_LARGEST_BYTES}; download it again"
        )
    values = file.read(size + 1)
    if len(values) != size:
        raise DataError(f"{path}: {len(values)} bytes of values where its header says {size}; download it again")
    return np.frombuffer(values, dtype=np.uint8).reshape(shape)
