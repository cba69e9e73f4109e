"""The types that loaders return (images with labels), their checks, and the split by a fixed seed."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qacomp.errors import DataError

SPLIT_SEED = 20_260_101  # fixed, so that runs with any seed validate on the same images
_LARGEST_CLASS_COUNT = 1 << 20


@dataclass(frozen=True)
class Split:
    """x: (N, H, W) or (N, H, W, C) uint8, or float32 in [0, 1]; y: (N,) int64 labels."""

    x: NDArray[Any]
    y: NDArray[np.int64]

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.y)

    def take(self, indices: NDArray[np.int64]) -> "Split":
        """Return the images at `indices` (a copy)."""
        return Split(self.x[indices], self.y[indices])


@dataclass(frozen=True)
class Dataset:
    """Three disjoint parts: `train` to train on, `val` to choose the best epoch, `test` to report accuracy."""

    spec: str
    num_classes: int
    train: Split
    val: Split
    test: Split


@dataclass(frozen=True)
class Source:
    """What a loader returns: the parts as published; `val` is None if it must be split off `train`.

    Arrays may still be raw (labels of any integer type, float64 images): `checked` converts and validates them.
    num_classes: None means one more than the largest label of the training part.
    """

    train: Split
    test: Split
    val: Split | None = None
    num_classes: int | None = None


def checked(name: str, split: Split) -> Split:
    """Return one part as validated arrays (see `Split`); only dtypes are changed.

    Raises `DataError`, which begins with `name` and says what is wrong.
    """
    try:
        images, labels = np.asarray(split.x), np.asarray(split.y)
    except (ValueError, TypeError) as error:  # lists of unequal lengths
        raise DataError(f"{name}: images and labels must be arrays ({' '.join(str(error).split())})") from error
    return Split(_checked_images(name, images, len(labels) if labels.ndim else -1), _checked_labels(name, labels))


def owned(split: Split) -> Split:
    """Return the part in writable C-ordered arrays, copied only if needed; torch warns of other arrays."""
    return Split(np.require(split.x, requirements=["C", "W"]), np.require(split.y, requirements=["C", "W"]))


def _checked_images(name: str, images: NDArray[Any], count: int) -> NDArray[Any]:
    if images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[-1] not in (1, 3)):
        raise DataError(f"{name}: images must be (N, H, W) or (N, H, W, 1 or 3), not {images.shape}")
    if images.size == 0:
        raise DataError(f"{name}: no images (shape {images.shape})")
    if count >= 0 and len(images) != count:
        raise DataError(f"{name}: {len(images)} images but {count} labels; give one label for each image")
    if images.dtype == np.uint8:
        return images
    if not np.issubdtype(images.dtype, np.floating):
        raise DataError(f"{name}: images are {images.dtype}; store them as uint8, or as float in [0, 1]")
    low, high = float(images.min()), float(images.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise DataError(f"{name}: images hold NaN or infinity; remove these values")
    if low < 0 or high > 1:
        raise DataError(
            f"{name}: float images span [{low:.4g}, {high:.4g}]; scale them to [0, 1] or store uint8 "
            "(normalization by mean and standard deviation is done by the preprocessing)"
        )
    return images.astype(np.float32, copy=False)


def _checked_labels(name: str, labels: NDArray[Any]) -> NDArray[np.int64]:
    if labels.ndim == 2 and labels.shape[1] == 1:  # (N, 1), as Keras stores them
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise DataError(f"{name}: labels must be (N,) class numbers, not {labels.shape}")
    if labels.dtype == np.bool_ or not np.issubdtype(labels.dtype, np.number):
        raise DataError(f"{name}: labels are {labels.dtype}; they must be class numbers 0, 1, 2, ...")
    if np.iscomplexobj(labels) or not np.all(np.isfinite(labels)) or np.any(labels != np.floor(labels)):
        raise DataError(f"{name}: labels must be whole numbers 0, 1, 2, ...")
    if len(labels) and (labels.min() < 0 or labels.max() >= _LARGEST_CLASS_COUNT):
        bad = int(labels.min()) if labels.min() < 0 else int(labels.max())
        raise DataError(f"{name}: label {bad} is out of range (they must be 0, 1, 2, ...)")
    return labels.astype(np.int64, copy=False)


def stratified_part(labels: NDArray[np.int64], fraction: float) -> NDArray[np.bool_]:
    """Return the mask (N,) of a part with `fraction` of every class, rounded by largest remainder.

    The mask depends only on labels and fraction. At least one image of each class stays outside of the part.
    """
    classes, counts = np.unique(labels, return_counts=True)
    quotas = np.minimum(counts * fraction, counts - 1)
    sizes = np.floor(quotas).astype(np.int64)
    missing = round(len(labels) * fraction) - int(sizes.sum())
    by_remainder = np.argsort(-(quotas - sizes), kind="stable")
    for index in by_remainder[: max(0, missing)]:
        sizes[index] += sizes[index] < counts[index] - 1
    generator = np.random.default_rng(SPLIT_SEED)
    part = np.zeros(len(labels), dtype=np.bool_)
    for label, size in zip(classes, sizes, strict=True):
        part[generator.permutation(np.flatnonzero(labels == label))[:size]] = True
    return part


def separate(split: Split, fraction: float) -> tuple[Split, Split]:
    """Return (the rest, a stratified part with `fraction` of the images): disjoint, both in the stored order."""
    part = stratified_part(split.y, fraction)
    return split.take(np.flatnonzero(~part)), split.take(np.flatnonzero(part))
