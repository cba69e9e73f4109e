"""CIFAR's batches, pickled by Python 2 and 3 and binary; nothing in a pickle runs."""

import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qacomp.datasets import load_dataset
from qacomp.errors import DataError

RGB = np.random.default_rng(1).integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
PLANAR = np.ascontiguousarray(RGB.transpose(0, 3, 1, 2).reshape(20, -1))


def write_cifar10(folder: Path, test_batch: object = None, protocol: int = 2) -> str:
    batch = {"data": PLANAR, "labels": (np.arange(20) % 10).tolist()}
    for number in range(1, 6):
        (folder / f"data_batch_{number}").write_bytes(pickle.dumps(batch, protocol=protocol))
    (folder / "test_batch").write_bytes(pickle.dumps(batch if test_batch is None else test_batch, protocol=protocol))
    return f"cifar10:{folder}"


@pytest.mark.parametrize("protocol", range(2, 6))
def test_cifar_batches_of_newer_pickle_protocols(tmp_path: Path, protocol: int) -> None:
    data = load_dataset(write_cifar10(tmp_path, protocol=protocol))
    assert np.array_equal(data.test.x, RGB) and data.num_classes == 10


def test_the_python_2_batches_as_published(tmp_path: Path) -> None:
    """Byte strings as Python 2 pickled them: SHORT_BINSTRING keys, BINSTRING array data."""

    def text(value: bytes) -> bytes:
        return b"U" + bytes([len(value)]) + value

    array = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85" + text(b"b") + b"tR"
        b"(K\x01K\x14M\x00\x0c\x86cnumpy\ndtype\n(" + text(b"u1") + b"K\x00K\x01tR(K\x03" + text(b"|")
        + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        + b"T" + struct.pack("<i", PLANAR.nbytes) + PLANAR.tobytes() + b"tb"
    )  # fmt: skip
    labels = b"](" + b"".join(b"K" + bytes([index % 10]) for index in range(20)) + b"e"
    batch = b"\x80\x02}(" + text(b"data") + array + text(b"labels") + labels + b"u."
    spec = write_cifar10(tmp_path)
    (tmp_path / "test_batch").write_bytes(batch)
    assert np.array_equal(pickle.loads(batch, encoding="bytes")[b"data"], PLANAR)
    data = load_dataset(spec)
    assert np.array_equal(data.test.x, RGB) and data.test.y.tolist() == [index % 10 for index in range(20)]


def test_cifar_binary_and_pickled_agree(tmp_path: Path) -> None:
    labels = (np.arange(20) % 10).astype(np.uint8)
    for name in [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]:
        (tmp_path / f"{name}.bin").write_bytes(np.concatenate([labels[:, None], PLANAR], axis=1).tobytes())
    data = load_dataset(f"cifar10:{tmp_path}")
    assert np.array_equal(data.test.x, RGB) and np.array_equal(data.test.y, labels)


def test_cifar100_pickles_give_the_fine_labels(tmp_path: Path) -> None:
    fine = np.arange(20) * 5
    for name in ("train", "test"):
        batch = {b"data": PLANAR, b"fine_labels": np.tile(fine, 1).tolist(), b"coarse_labels": [0] * 20}
        (tmp_path / name).write_bytes(pickle.dumps({**batch, b"data": PLANAR}, protocol=2))
    with pytest.raises(DataError, match="too few"):  # one image a class leaves none for validation
        load_dataset(f"cifar100:{tmp_path}")
    doubled = {b"data": np.tile(PLANAR, (2, 1)), b"fine_labels": np.tile(fine, 2).tolist()}
    (tmp_path / "train").write_bytes(pickle.dumps(doubled, protocol=2))
    data = load_dataset(f"cifar100:{tmp_path}")
    assert data.num_classes == 100 and data.test.y.tolist() == fine.tolist()


class Marker:
    """Writes a file when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


def test_cifar_pickles_run_nothing(tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    with pytest.raises(DataError, match=r"test_batch: its pickle asks for .*isn't loaded"):
        load_dataset(write_cifar10(tmp_path, {"data": PLANAR, "labels": Marker(mark)}))
    assert not mark.exists()


@pytest.mark.parametrize(
    ("batch", "said"),
    [
        ([1, 2], "holds a list"),
        ({"labels": [1]}, "lacks data"),
        ({"data": PLANAR}, "lacks labels"),
        ({"data": PLANAR[:, 1:], "labels": [0] * 20}, "uint8"),
        ({"data": PLANAR.astype(np.float32), "labels": [0] * 20}, "isn't allowed"),
        ({"data": PLANAR, "labels": [[0]] * 20 + [[]]}, "list of class numbers"),
        ({"data": PLANAR, "labels": [0] * 19}, "20 images but 19 labels"),
        ({"data": PLANAR, "labels": [-1] * 20}, "label -1"),
        ({"data": PLANAR, "labels": [10] * 20}, "label 10"),
    ],
)
def test_bad_batches_are_refused(tmp_path: Path, batch: object, said: str) -> None:
    with pytest.raises(DataError, match=said):
        load_dataset(write_cifar10(tmp_path, batch))


def test_truncated_batches_are_refused(tmp_path: Path) -> None:
    spec = write_cifar10(tmp_path)
    path = tmp_path / "data_batch_3"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"data_batch_3.*truncated"):
        load_dataset(spec)
    path.unlink()
    with pytest.raises(DataError, match="has no file data_batch_3"):
        load_dataset(spec)
    (tmp_path / "data_batch_3.bin").write_bytes(b"\0" * 3074)
    with pytest.raises(DataError, match="multiple of 3073-byte records"):
        load_dataset(spec)
