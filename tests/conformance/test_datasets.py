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


@pytest.fixture(scope="module", params=KINDS)
def dataset(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    assert request.param in FIXTURES, "a new kind of data needs a fixture that writes its files"
    return load_dataset(FIXTURES[request.param](tmp_path_factory.mktemp(request.param)))


def test_types_and_shapes(dataset: Dataset) -> None:
    for part in (dataset.train, dataset.val, dataset.test):
        assert len(part) == len(part.x) == len(part.y) > 0
        assert part.x.dtype == np.uint8 or (part.x.dtype == np.float32 and 0 <= part.x.min() <= part.x.max() <= 1)
        assert part.x.ndim in (3, 4) and part.x.shape[1:] == dataset.train.x.shape[1:]
        assert part.y.dtype == np.int64 and part.y.ndim == 1
        assert 0 <= part.y.min() <= part.y.max() < dataset.num_classes
        assert part.x.flags.writeable and part.y.flags.writeable and part.x.flags.c_contiguous


def test_parts_are_disjoint_and_validation_has_every_class(dataset: Dataset) -> None:
    parts = [{image.tobytes() for image in part.x} for part in (dataset.train, dataset.val, dataset.test)]
    assert not (parts[0] & parts[1]) and not (parts[0] & parts[2]) and not (parts[1] & parts[2])
    counts = np.bincount(dataset.val.y, minlength=dataset.num_classes)
    assert counts.max() - counts.min() <= 1
    total = len(dataset.train) + len(dataset.val)
    assert abs(len(dataset.val) - 0.1 * total) <= 1


def test_loading_again_gives_the_same(dataset: Dataset) -> None:
    again = load_dataset(dataset.spec)
    for one, other in ((dataset.train, again.train), (dataset.val, again.val), (dataset.test, again.test)):
        assert np.array_equal(one.x, other.x) and np.array_equal(one.y, other.y)


def test_another_fraction_leaves_test_alone(dataset: Dataset) -> None:
    other = load_dataset(dataset.spec, validation_fraction=0.3)
    assert np.array_equal(other.test.x, dataset.test.x)
    assert len(other.val) > len(dataset.val)


@pytest.mark.parametrize("name", list_models())
def test_every_model_takes_it(dataset: Dataset, name: str) -> None:
    import torch

    preprocessing: Preprocessing = model_info(name).preprocessing
    batch = torch.from_numpy(preprocessing.apply(dataset.test.x[:2]))
    assert create_model(name, dataset.num_classes).eval()(batch).shape == (2, dataset.num_classes)


def test_kinds_describe_themselves() -> None:
    for kind in list_datasets():
        assert kind.description and kind.usage.startswith(kind.name)
