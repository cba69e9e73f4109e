"""Read the calibration inputs that a user names for a network: images, labelled or not, or inputs as they are."""

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qacomp.datasets import load_dataset
from qacomp.datasets.npz import read_arrays
from qacomp.datasets.preprocessing import Preprocessing
from qacomp.datasets.split import Split, checked
from qacomp.errors import DataError


def given_inputs(spec: str, preprocessing: Preprocessing, most: int, seed: int) -> NDArray[np.float32]:
    """Return at most `most` inputs (N, C, H, W) of a data spec, drawn by the seed, in their order.

    An archive of an array x needs no labels: it holds images (see `Split`), or floats of the network's input shape
    (N, C, H, W), which are taken as they are. Other data gives the images of its training part. Raises DataError.
    """
    images = _unlabelled(spec)
    if images is None:
        return preprocessing.apply(some_of(load_dataset(spec).train.x, most, seed))
    if images.ndim == 4 and images.dtype.kind == "f" and images.shape[1:] == preprocessing.input_shape:
        if not np.isfinite(images).all():
            raise DataError(f"{spec}: x holds NaN or infinity; remove these values")
        return np.ascontiguousarray(some_of(images, most, seed), np.float32)
    labels = np.zeros(len(images) if images.ndim else 0, np.int64)
    return preprocessing.apply(some_of(checked(f"{spec}: x", Split(images, labels)).x, most, seed))


def _unlabelled(spec: str) -> NDArray[Any] | None:
    """Return the array x of a numpy archive; None for other data."""
    kind, _, argument = spec.partition(":")
    if kind != "npz":
        return None
    found = read_arrays(Path(os.path.expanduser(argument)), ("x",)).get("x")
    return found if found is not None and found.size else None


def some_of(images: NDArray[Any], most: int, seed: int) -> NDArray[Any]:
    """Return at most `most` of the images, drawn by the seed, in their order."""
    return images[np.sort(np.random.default_rng(seed).permutation(len(images))[:most])]
