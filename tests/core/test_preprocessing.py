import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from qacomp.datasets import preprocessing
from qacomp.datasets.preprocessing import Preprocessing
from qacomp.errors import CheckpointError, DataError

IDENTITY = Preprocessing(size=(4, 5), channels=1, mean=(0.0,), std=(1.0,))


def random_images(*shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def test_scales_and_normalizes_each_channel() -> None:
    rgb = Preprocessing(size=(4, 5), channels=3, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    images = random_images(7, 4, 5, 3)
    expected = (images / 255.0 - np.array(rgb.mean)) / np.array(rgb.std)
    out = rgb.apply(images)
    assert out.shape == (7, 3, 4, 5) and out.dtype == np.float32 and out.flags.c_contiguous
    np.testing.assert_allclose(out, expected.transpose(0, 3, 1, 2), atol=1e-5)


def test_floats_are_not_scaled_again() -> None:
    images = random_images(3, 4, 5)
    np.testing.assert_allclose(IDENTITY.apply(images), IDENTITY.apply((images / 255.0).astype(np.float32)), atol=1e-7)


@pytest.mark.parametrize("shape", [(2, 4, 5), (2, 4, 5, 1)])
def test_grey_is_repeated_for_rgb(shape: tuple[int, ...]) -> None:
    rgb = Preprocessing(size=(4, 5), channels=3, mean=(0.0,) * 3, std=(1.0,) * 3)
    out = rgb.apply(random_images(*shape))
    assert out.shape == (2, 3, 4, 5)
    assert np.array_equal(out[:, 0], out[:, 1]) and np.array_equal(out[:, 0], out[:, 2])


def test_rgb_becomes_pillows_luma() -> None:
    image = random_images(1, 4, 5, 3)
    expected = np.asarray(Image.fromarray(image[0]).convert("L"))
    assert np.abs(IDENTITY.apply(image)[0, 0] * 255 - expected).max() <= 1.0  # Pillow rounds to whole levels


@given(
    stored=st.tuples(st.integers(1, 12), st.integers(1, 12)), wanted=st.tuples(st.integers(1, 12), st.integers(1, 12))
)
def test_resizing_agrees_with_pillows_bilinear(stored: tuple[int, int], wanted: tuple[int, int]) -> None:
    images = random_images(2, *stored)
    out = Preprocessing(size=wanted, channels=1, mean=(0.0,), std=(1.0,)).apply(images)
    planes = [Image.fromarray(image / np.float32(255)) for image in images]  # mode F: no rounding to levels
    reference = [np.asarray(plane.resize(wanted[::-1], Image.Resampling.BILINEAR)) for plane in planes]
    np.testing.assert_allclose(out[:, 0], np.stack(reference), atol=1e-5)


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    resized = Preprocessing(size=(9, 7), channels=3, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
    images = random_images(50, 6, 8, 3)
    whole = resized.apply(images)
    monkeypatch.setattr(preprocessing, "_CHUNK_BYTES", 3000)
    np.testing.assert_allclose(resized.apply(images), whole, atol=1e-6)


def test_no_images_give_an_empty_batch() -> None:
    assert IDENTITY.apply(np.empty((0, 8, 8), np.uint8)).shape == (0, 1, 4, 5)


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((2, 4), np.uint8),
        np.zeros((2, 3, 4, 5), np.uint8),
        np.zeros((2, 4, 5), np.int64),
        np.zeros((2, 0, 5), np.uint8),
    ],
)
def test_other_layouts_and_types_are_refused(images: NDArray[Any]) -> None:
    with pytest.raises(DataError, match="images"):
        IDENTITY.apply(images)


def test_dict_round_trip_is_exact() -> None:
    made = Preprocessing(size=(28, 30), channels=3, mean=(0.1, 1 / 3, 0.0), std=(0.2, 1.5, math.pi))
    assert Preprocessing.from_dict(made.to_dict()) == made


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"size": None}, "lacks size"),
        ({"size": [0, 5]}, "size"),
        ({"size": [4, 1 << 30]}, "size"),
        ({"size": [4]}, "size"),
        ({"size": [4.0, 5.0]}, "size"),
        ({"channels": 2, "mean": [0, 0], "std": [1, 1]}, "channels"),
        ({"channels": True}, "channels"),
        ({"mean": [0.0, 0.0]}, "mean"),
        ({"mean": [math.nan]}, "mean"),
        ({"mean": 0.5}, "mean"),
        ({"std": [0.0]}, "std"),
        ({"std": [math.inf]}, "std"),
        ({"std": ["1"]}, "std"),
        ({"crop": 3}, "crop"),
    ],
)
def test_bad_dicts_are_refused_by_name(changes: dict[str, Any], named: str) -> None:
    values = {**IDENTITY.to_dict(), **changes}
    with pytest.raises(CheckpointError, match=named):
        Preprocessing.from_dict({key: value for key, value in values.items() if value is not None})


def test_no_mapping_is_refused() -> None:
    with pytest.raises(CheckpointError, match="mapping"):
        Preprocessing.from_dict([1])  # type: ignore[arg-type]


def test_preprocessing_and_listings_need_no_torch() -> None:
    program = (
        "import sys; sys.modules['torch'] = None; sys.modules['sklearn'] = None\n"
        "import qacomp.datasets.preprocessing, qacomp.models, qacomp.datasets\n"
        "assert 'resnet20' in qacomp.models.list_models()\n"
        "assert qacomp.models.model_info('lenet5').preprocessing.channels == 1\n"
        "assert [kind.name for kind in qacomp.datasets.list_datasets()]\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
