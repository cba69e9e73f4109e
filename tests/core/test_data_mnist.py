"""MNIST's idx files, gzipped or not, under both of their names."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from qacomp.datasets import load_dataset
from qacomp.errors import DataError

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 6, 5), dtype=np.uint8)
LABELS = np.arange(40) % 4


def idx(values: NDArray[np.uint8]) -> bytes:
    return bytes((0, 0, 8, values.ndim)) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


def write_mnist(folder: Path) -> None:
    for prefix, count in (("train", 40), ("t10k", 8)):
        (folder / f"{prefix}-images.idx3-ubyte").write_bytes(idx(PIXELS[:count]))
        (folder / f"{prefix}-labels.idx1-ubyte").write_bytes(idx(LABELS[:count].astype(np.uint8)))


def test_mnist_under_its_dotted_names_in_torchvisions_folder(tmp_path: Path) -> None:
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    write_mnist(raw)
    data = load_dataset(f"mnist:{tmp_path}")
    assert np.array_equal(data.test.x, PIXELS[:8]) and np.array_equal(data.test.y, LABELS[:8])
    assert data.num_classes == 10


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("t10k-labels.idx1-ubyte", None, "has no file t10k-labels-idx1-ubyte"),
        ("t10k-images.idx3-ubyte", b"\x00\x00\x08", "not an idx file"),
        ("t10k-images.idx3-ubyte", idx(LABELS.astype(np.uint8)), "not an idx file"),
        ("t10k-images.idx3-ubyte", idx(PIXELS)[:-1], "where its header says 1200"),
        ("t10k-images.idx3-ubyte", idx(PIXELS) + b"x", "where its header says 1200"),
        ("t10k-images.idx3-ubyte", b"\x00\x00\x08\x03" + b"\xff" * 12, "more than the limit"),
        ("t10k-images.idx3-ubyte", gzip.compress(idx(PIXELS))[:-20], "can't be read"),
        ("t10k-labels.idx1-ubyte", idx(np.full(8, 11, np.uint8)), "label 11, out of range for 10"),
    ],
)
def test_bad_idx_files_are_refused(tmp_path: Path, name: str, content: bytes | None, said: str) -> None:
    write_mnist(tmp_path)
    if content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=said):
        load_dataset(f"mnist:{tmp_path}")
