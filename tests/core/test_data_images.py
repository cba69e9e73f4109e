"""Folders of images, a folder a class."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from qacomp.datasets import load_dataset
from qacomp.errors import DataError

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 6, 5), dtype=np.uint8)


RGB = np.random.default_rng(1).integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)


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
