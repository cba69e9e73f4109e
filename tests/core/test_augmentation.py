"""Random changes of training images, and those of the user's own."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from qacomp.batches.augmentation import augmentation, changed, crop, cutout, flip
from qacomp.batches.images import ImageBatches
from qacomp.datasets import Split
from qacomp.datasets.preprocessing import Preprocessing
from qacomp.errors import ConfigError, DataError


def made(count: int = 64, side: int = 12) -> NDArray[np.float32]:
    """Images without a zero, and no two pixels of which are equal."""
    return np.arange(1, count * 3 * side * side + 1, dtype=np.float32).reshape(count, 3, side, side)


def test_a_crop_is_the_image_moved_by_up_to_four_pixels() -> None:
    x, moves = made(), set()
    for image, before in zip(crop(x, np.random.default_rng(0)), x, strict=True):
        padded = np.pad(before, ((0, 0), (4, 4), (4, 4)))
        found = [(t, u) for t in range(9) for u in range(9) if (padded[:, t : t + 12, u : u + 12] == image).all()]
        assert len(found) == 1
        moves.add(found[0])
    assert len(moves) > 30


def test_a_flip_mirrors_about_half_of_the_images_and_keeps_the_others() -> None:
    x = made()
    out = flip(x, np.random.default_rng(0))
    mirrored = [(a == b[:, :, ::-1]).all() for a, b in zip(out, x, strict=True)]
    kept = [(a == b).all() for a, b in zip(out, x, strict=True)]
    assert 20 < sum(mirrored) < 44 and sum(mirrored) + sum(kept) == 64


def test_a_cutout_is_a_square_of_half_the_side_around_any_pixel() -> None:
    x = made(2000)
    gone = cutout(x, np.random.default_rng(0)) == 0  # (B, C, H, W)
    assert (gone == gone[:, :1]).all()  # in all channels
    areas = gone[:, 0].sum(axis=(1, 2))
    assert areas.max() == 36 and areas.min() == 9  # whole in the middle, a quarter of it in a corner
    assert gone[:, 0].any(axis=0).all()  # no pixel is spared
    assert (cutout(x, np.random.default_rng(0))[~gone] == x[~gone]).all()


def test_changes_come_in_their_order_and_the_old_name_means_both() -> None:
    x = made()
    for old, new in (("crop-flip", "crop,flip"), ("crop-flip,cutout", "crop,flip,cutout")):
        first, second = (changed(x, augmentation(text), np.random.default_rng(3)) for text in (old, new))
        assert first.dtype == np.float32 and (first == second).all()
    assert (changed(x, augmentation("none"), np.random.default_rng(3)) == x).all()


def test_batches_are_changed_anew_in_each_epoch_and_equally_for_equal_seeds() -> None:
    rng = np.random.default_rng(0)
    split = Split(rng.integers(0, 255, (32, 8, 8, 1), dtype=np.uint8), np.arange(32) % 2)
    batches = ImageBatches(split, Preprocessing((8, 8), 1, (0.5,), (0.5,)))

    def epoch(number: int, augment: str = "flip,cutout") -> NDArray[np.float32]:
        found = batches.training(16, augment=augment, entropy=[0, number])
        return np.concatenate([np.asarray(batch.x) for batch in found])

    assert (epoch(1) == epoch(1)).all()
    assert not (epoch(1) == epoch(2)).all()
    assert not (epoch(1) == epoch(1, "none")).all()


OWN = """
import numpy as np

def darker(images, rng):
    return images * rng.random((len(images), 1, 1, 1))

def wrong(images, rng):
    return images[:, :, 1:]

def nan(images, rng):
    return images + np.nan

def fails(images, rng):
    raise RuntimeError("no such filter")
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_changes.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("own")
def test_a_function_of_the_users_own_changes_images() -> None:
    x = made()
    out = changed(x, augmentation("flip,own_changes:darker"), np.random.default_rng(0))
    assert out.dtype == np.float32 and (out < flip(x, np.random.default_rng(0))).all()


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(
    ("name", "told"),
    [("wrong", r"\[64, 3, 11, 12\]"), ("nan", "NaN"), ("fails", "RuntimeError: no such filter")],
)
def test_what_is_wrong_with_it_is_told(name: str, told: str) -> None:
    with pytest.raises(DataError, match=f"--augment own_changes:{name}.*{told}"):
        changed(made(), augmentation(f"own_changes:{name}"), np.random.default_rng(0))


@pytest.mark.parametrize("text", ["blur", "crop,", "", "crop;flip"])
def test_an_unknown_change_is_an_error_that_names_what_there_is(text: str) -> None:
    with pytest.raises(ConfigError, match="crop, flip, cutout, module:function"):
        augmentation(text)


def test_a_function_that_cannot_be_imported_is_an_error() -> None:
    with pytest.raises(DataError, match="no_such_module"):
        augmentation("no_such_module:function")
