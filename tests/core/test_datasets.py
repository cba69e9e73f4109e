import gzip
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from qacomp.datasets import Dataset, load_dataset
from qacomp.datasets.split import stratified_part
from qacomp.errors import ConfigError, DataError, UnknownDataSpecError

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 6, 5), dtype=np.uint8)
LABELS = np.arange(40) % 4
GOOD: dict[str, Any] = {"x_train": PIXELS, "y_train": LABELS, "x_test": PIXELS[:8], "y_test": LABELS[:8]}


def written_npz(folder: Path, **changes: Any) -> str:
    arrays = {name: value for name, value in {**GOOD, **changes}.items() if value is not None}
    np.savez(folder / "data.npz", **arrays)
    return f"npz:{folder / 'data.npz'}"


# ---- specs


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("digit", r"did you mean digits\?.*cifar10:DIR"),
        ("imagenet:/x", "give one of"),
        ("", "give one of"),
        ("npz", "npz:FILE"),
        ("npz:", "npz:FILE"),
        ("digits:8", "must be written as digits"),
        ("no_such_module_here:data", r"module:function"),
        ("not a module:data", r"module:function"),
    ],
)
def test_unknown_specs_list_the_known(spec: str, said: str) -> None:
    with pytest.raises(UnknownDataSpecError, match=said):
        load_dataset(spec)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, float("nan")])
def test_impossible_fractions_are_refused(fraction: float) -> None:
    with pytest.raises(ConfigError, match="fraction"):
        load_dataset("digits", validation_fraction=fraction)


# ---- the split


@given(st.lists(st.integers(0, 5), min_size=1, max_size=80), st.floats(0.01, 0.99))
def test_stratified_part_has_its_share_of_every_class(labels: list[int], fraction: float) -> None:
    y = np.array(labels, dtype=np.int64)
    part = stratified_part(y, fraction)
    assert np.array_equal(part, stratified_part(y, fraction))
    for label in set(labels):
        count, taken = int((y == label).sum()), int(part[y == label].sum())
        assert abs(taken - count * fraction) <= 1 and taken < count


def test_digits_have_a_fixed_test_part() -> None:
    data = load_dataset("digits")
    assert (len(data.train), len(data.val), len(data.test)) == (1294, 144, 359)
    assert data.num_classes == 10 and data.train.x.max() == 255


# ---- npz


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


# ---- mnist


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


def test_missing_folders_are_named(tmp_path: Path) -> None:
    for kind in ("mnist", "cifar10", "cifar100", "images"):
        with pytest.raises(DataError, match="does not exist"):
            load_dataset(f"{kind}:{tmp_path / 'absent'}")


# ---- cifar

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


# ---- images


def save(path: Path, pixels: NDArray[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def write_images(folder: Path) -> str:
    for part in ("train", "test"):
        for index in range(12):
            save(folder / part / "ab"[index % 2] / f"{index}.png", PIXELS[index])
    return f"images:{folder}"


def test_grey_images_stay_grey_and_classes_are_sorted(tmp_path: Path) -> None:
    spec = write_images(tmp_path)
    (tmp_path / "train" / "a" / ".hidden.png").write_text("no image")
    (tmp_path / "train" / "a" / "notes.txt").write_text("no image")
    data = load_dataset(spec)
    assert data.test.x.shape == (12, 6, 5) and data.num_classes == 2
    assert data.test.y.tolist() == [0] * 6 + [1] * 6
    assert np.array_equal(data.test.x[0], PIXELS[0]) and np.array_equal(data.test.x[6], PIXELS[1])


def test_sizes_and_modes_are_made_uniform(tmp_path: Path) -> None:
    spec = write_images(tmp_path)
    save(tmp_path / "train" / "a" / "large.jpg", RGB[0])
    save(tmp_path / "val" / "b" / "one.png", PIXELS[20])
    data = load_dataset(spec)
    assert data.train.x.shape == (13, 6, 5, 3) and data.val.x.shape == (1, 6, 5, 3)


def test_bad_image_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="train does not exist"):
        load_dataset(f"images:{tmp_path}")
    spec = write_images(tmp_path)
    odd = tmp_path / "test" / "z" / "0.png"
    save(odd, PIXELS[0])
    with pytest.raises(DataError, match="class folder 'z', which train/ lacks"):
        load_dataset(spec)
    odd.unlink()
    odd.parent.rmdir()
    bad = tmp_path / "train" / "a" / "bad.png"
    bad.write_bytes(b"no image")
    with pytest.raises(DataError, match=r"bad\.png is not a readable"):
        load_dataset(spec)
    bad.write_bytes((tmp_path / "train" / "a" / "0.png").read_bytes()[:60])
    with pytest.raises(DataError, match=r"bad\.png"):
        load_dataset(spec)
    save(bad, PIXELS[0].astype(np.uint16) * 257)
    with pytest.raises(DataError, match="8 bits"):
        load_dataset(spec)


# ---- module:function


def test_a_users_own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_data_module.py").write_text(
        "import numpy as np\n"
        "from qacomp.datasets import Dataset, Split\n"
        "x = np.arange(40 * 16, dtype=np.uint8).reshape(40, 4, 4)\n"
        "y = np.arange(40) % 4\n"
        "part = Split(x, y)\n"
        "def mapping(): return {'x_train': x, 'y_train': y, 'x_test': x, 'y_test': y}\n"
        "def dataset(): return Dataset('mine', 4, part, part, part)\n"
        "def number(): return 3\n"
        "def ragged(): return {**mapping(), 'x_train': [[1], [2, 3]]}\n"
        "def classes(): return {**mapping(), 'num_classes': 'four'}\n"
        "def broken(): raise RuntimeError('no\\ndisk')\n"
    )
    monkeypatch.chdir(tmp_path)
    made = load_dataset("own_data_module:mapping")
    assert made.num_classes == 4 and len(made.train) + len(made.val) == 40
    whole = load_dataset("own_data_module:dataset")
    assert isinstance(whole, Dataset) and len(whole.val) == 40
    for function, said in (
        ("number", "not int"),
        ("broken", "RuntimeError: no disk"),
        ("absent", "AttributeError"),
        ("ragged", "must be arrays"),
        ("classes", "num_classes must be one whole number"),
    ):
        with pytest.raises(DataError, match=said):
            load_dataset(f"own_data_module:{function}")
