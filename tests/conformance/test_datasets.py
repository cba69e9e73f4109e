"""The contract of every registered kind of data; each needs one fixture here that writes its files."""

import gzip
import pickle
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from qacomp.datasets import Dataset, list_datasets, load_dataset
from qacomp.datasets.preprocessing import Preprocessing
from qacomp.models import create_model, list_models, model_info
from qacomp.testing import DatasetSuite

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]


def drawn(count: int, shape: tuple[int, ...], classes: int, seed: int) -> tuple[Images, Labels]:
    """Distinct random images, each class as often as the others."""
    generator = np.random.default_rng(seed)
    return generator.integers(0, 256, (count, *shape), dtype=np.uint8), np.arange(count) % classes


def write_idx(path: Path, values: NDArray[np.uint8]) -> None:
    header = bytes((0, 0, 8, values.ndim)) + struct.pack(f">{values.ndim}I", *values.shape)
    data = header + values.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def digits(folder: Path) -> str:
    return "digits"


def mnist(folder: Path) -> str:
    for prefix, count, seed, suffix in (("train", 60, 0, ""), ("t10k", 20, 1, ".gz")):
        images, labels = drawn(count, (28, 28), 10, seed)
        write_idx(folder / f"{prefix}-images-idx3-ubyte{suffix}", images)
        write_idx(folder / f"{prefix}-labels-idx1-ubyte{suffix}", labels.astype(np.uint8))
    return f"mnist:{folder}"


def planar(images: Images) -> Images:
    return images.transpose(0, 3, 1, 2).reshape(len(images), -1)


def cifar10(folder: Path) -> str:
    below = folder / "cifar-10-batches-py"
    below.mkdir()
    for seed, name in enumerate([*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]):
        images, labels = drawn(20, (32, 32, 3), 10, seed)
        batch = {b"data": planar(images), b"labels": labels.tolist(), b"batch_label": b"one", b"filenames": [b"a"]}
        (below / name).write_bytes(pickle.dumps(batch, protocol=2))
    return f"cifar10:{folder}"


def cifar100(folder: Path) -> str:
    for seed, (name, count) in enumerate((("train", 400), ("test", 100))):
        images, labels = drawn(count, (32, 32, 3), 100, seed)
        records = np.concatenate([labels[:, None] // 5, labels[:, None], planar(images)], axis=1)
        (folder / f"{name}.bin").write_bytes(records.astype(np.uint8).tobytes())
    return f"cifar100:{folder}"


def npz(folder: Path) -> str:
    x_train, y_train = drawn(40, (8, 8, 3), 4, 0)
    x_test, y_test = drawn(12, (8, 8, 3), 4, 1)
    np.savez_compressed(folder / "data.npz", x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
    return f"npz:{folder / 'data.npz'}"


def images(folder: Path) -> str:
    for seed, (part, count) in enumerate((("train", 40), ("test", 12))):
        drawings, labels = drawn(count, (9, 8, 3), 3, seed)
        for index, (drawing, label) in enumerate(zip(drawings, labels, strict=True)):
            place = folder / part / f"class {label}"
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(drawing).save(place / f"{index}.png")
    return f"images:{folder}"


FIXTURES: dict[str, Callable[[Path], str]] = {
    made.__name__: made for made in (digits, mnist, cifar10, cifar100, npz, images)
}
KINDS = [kind.name for kind in list_datasets()]


def test_every_kind_has_a_fixture() -> None:
    assert sorted(FIXTURES) == sorted(KINDS), "a new kind of data needs a fixture that writes its files"


def suite(kind: str) -> type[DatasetSuite]:
    """Return the suite of one kind, on the files that its fixture writes."""

    class Own(DatasetSuite):
        name = kind

        def spec(self, folder: Path) -> str:
            return FIXTURES[kind](folder)

    return Own


globals().update({f"Test{kind.capitalize()}": suite(kind) for kind in FIXTURES})


@pytest.fixture(scope="module", params=KINDS)
def dataset(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return load_dataset(FIXTURES[request.param](tmp_path_factory.mktemp(request.param)))


def test_validation_has_every_class(dataset: Dataset) -> None:
    counts = np.bincount(dataset.val.y, minlength=dataset.num_classes)
    assert counts.max() - counts.min() <= 1
    total = len(dataset.train) + len(dataset.val)
    assert abs(len(dataset.val) - 0.1 * total) <= 1
    assert len(load_dataset(dataset.spec, validation_fraction=0.3).val) > len(dataset.val)


@pytest.mark.parametrize("name", list_models())
def test_every_model_takes_it(dataset: Dataset, name: str) -> None:
    import torch

    preprocessing: Preprocessing = model_info(name).preprocessing
    batch = torch.from_numpy(preprocessing.apply(dataset.test.x[:2]))
    assert create_model(name, dataset.num_classes).eval()(batch).shape == (2, dataset.num_classes)
