"""Data in .npz archives: what comes out, and what is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qacomp.datasets import load_dataset
from qacomp.errors import DataError

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 6, 5), dtype=np.uint8)
LABELS = np.arange(40) % 4
GOOD: dict[str, Any] = {"x_train": PIXELS, "y_train": LABELS, "x_test": PIXELS[:8], "y_test": LABELS[:8]}


def written_npz(folder: Path, **changes: Any) -> str:
    arrays = {name: value for name, value in {**GOOD, **changes}.items() if value is not None}
    np.savez(folder / "data.npz", **arrays)
    return f"npz:{folder / 'data.npz'}"


def test_npz_with_its_own_validation_part(tmp_path: Path) -> None:
    data = load_dataset(written_npz(tmp_path, x_val=PIXELS[8:16], y_val=LABELS[8:16]))
    assert len(data.train) == 40 and np.array_equal(data.val.x, PIXELS[8:16])


def test_npz_floats_and_column_labels_and_fortran_order(tmp_path: Path) -> None:
    scaled = np.asfortranarray(PIXELS / 255.0)
    data = load_dataset(written_npz(tmp_path, x_train=scaled, x_test=scaled[:8], y_train=LABELS[:, None].astype(float)))
    assert data.train.x.dtype == np.float32 and data.train.x.flags.c_contiguous
    assert sorted(data.train.y.tolist() + data.val.y.tolist()) == sorted(LABELS.tolist())


def test_shared_mnist_archive(shared_dir: Path) -> None:
    data = load_dataset(f"npz:{shared_dir / 'data' / 'mnist.npz'}")
    assert (len(data.train), len(data.val), len(data.test), data.num_classes) == (54_000, 6_000, 10_000, 10)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"y_test": None}, "lacks y_test"),
        ({"x_val": PIXELS}, "x_val and y_val"),
        ({"y_train": LABELS[:-1]}, "40 images but 39 labels"),
        ({"y_train": LABELS - 1}, "label -1"),
        ({"y_train": LABELS + 0.5}, "whole numbers"),
        ({"y_train": LABELS * np.nan}, "whole numbers"),
        ({"y_train": LABELS.astype(str)}, "labels are"),
        ({"y_train": np.eye(4)[LABELS]}, r"labels must be \(N,\)"),
        ({"y_train": LABELS * 0}, "1 class"),
        ({"y_train": LABELS * (1 << 40)}, "out of range"),
        ({"y_test": LABELS[:8] + 1}, "test has label 4, out of range for 4 classes"),
        ({"x_train": PIXELS[:0], "y_train": LABELS[:0]}, "no images"),
        ({"x_test": PIXELS[:0], "y_test": LABELS[:0]}, "no images"),
        ({"x_train": PIXELS[:1], "y_train": LABELS[1:2]}, "too few"),
        ({"x_train": PIXELS.astype(np.float32)}, r"scale them to \[0, 1\]"),
        ({"x_train": np.where(PIXELS > 9, PIXELS / 255, np.nan)}, "NaN"),
        ({"x_train": PIXELS.astype(np.int32)}, "int32"),
        ({"x_train": PIXELS.reshape(40, 30)}, r"\(40, 30\)"),
        ({"x_test": PIXELS[:8, :5]}, "test images are"),
        ({"num_classes": np.int64(3)}, "label 3, out of range for 3"),
        ({"x_train": np.array([{"a": 1}] * 40)}, "Python objects"),
    ],
)
def test_bad_arrays_are_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        load_dataset(written_npz(tmp_path, **changes))


def lying_npz(folder: Path) -> None:
    import io
    import zipfile

    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (1 << 45, 28, 28)})
    with zipfile.ZipFile(folder / "data.npz", "w") as archive:
        archive.writestr("x_train.npy", header.getvalue())


def truncated_npz(folder: Path) -> None:
    written_npz(folder)
    path = folder / "data.npz"
    path.write_bytes(path.read_bytes()[:1000])


def flipped_npz(folder: Path) -> None:
    written_npz(folder)
    path = folder / "data.npz"
    data = bytearray(path.read_bytes())
    data[300] ^= 1  # within x_train's pixels
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lying_npz, "more than the archive holds"),
        (truncated_npz, "not a readable numpy archive"),
        (flipped_npz, "not a readable numpy archive"),
        (lambda folder: (folder / "data.npz").write_text("hello"), "not a readable numpy archive"),
        (lambda folder: (folder / "data.npz").mkdir(), "is not a file"),
        (lambda folder: None, "does not exist"),
    ],
)
def test_bad_archives_are_refused(tmp_path: Path, spoil: Callable[[Path], object], said: str) -> None:
    spoil(tmp_path)
    with pytest.raises(DataError, match=said):
        load_dataset(f"npz:{tmp_path / 'data.npz'}")
