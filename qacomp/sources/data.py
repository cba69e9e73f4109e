"""Find out what data is: images, which qacomp prepares for a network, or a user's own batches, fed as they are."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from qacomp.datasets import DATASETS, Dataset, dataset_from_arrays, load_dataset
from qacomp.datasets.custom import call_custom


@dataclass(frozen=True)
class FoundData:
    """`images`: data that holds images for qacomp to prepare; `own`: a user's own data; `spec`: its name in messages.

    Arrays may be both: then the network decides.
    """

    spec: str
    images: Dataset | None = None
    own: Any = None


def find_data(given: Any) -> FoundData | None:
    """Return what a caller gave as data: a data spec, a Dataset, arrays, or whatever `load_examples` takes.

    `module:function` is called, unless it is the name of known data. Raises DataError for images that can't be used,
    UnknownDataSpecError for an unknown spec.
    """
    if given is None:
        return None
    spec = given if isinstance(given, str) else "data"
    if isinstance(given, str):
        name, _, function = given.partition(":")
        called = call_custom(name, function) if function and name not in DATASETS.names() else None
        given = load_dataset(given) if called is None else called
    if isinstance(given, Dataset):
        return FoundData(given.spec, given)
    if isinstance(given, Mapping) and any(str(name).startswith("x_") for name in given):
        return FoundData(spec, _images(given), given)
    return FoundData(spec, own=given)


def _images(arrays: Mapping[str, Any]) -> Dataset | None:
    """Return arrays as images with labels; None if they aren't: other axes, values beyond [0, 1], no class labels."""
    x, y = arrays.get("x_train"), arrays.get("y_train")
    if x is not None and y is not None and not _like_images(x, y):
        return None
    return dataset_from_arrays({name: _array(value) for name, value in arrays.items()})


def _like_images(x: Any, y: Any) -> bool:
    if isinstance(x, Mapping | tuple) or isinstance(y, Mapping | tuple):
        return False
    try:
        pixels, labels = np.asarray(_array(x)), np.asarray(_array(y))
    except (ValueError, TypeError):
        return True  # lists of different lengths; the error says so
    if (
        pixels.dtype.kind == "f"
        and pixels.size
        and np.isfinite(pixels).all()
        and not 0 <= pixels.min() <= pixels.max() <= 1
    ):
        return False
    shaped = pixels.ndim == 3 or (pixels.ndim == 4 and pixels.shape[-1] in (1, 3))
    whole = labels.dtype.kind in "iu" or (labels.dtype.kind == "f" and bool((labels == np.floor(labels)).all()))
    return shaped and labels.ndim in (1, 2) and labels.size == len(labels) and whole


def _array(value: Any) -> Any:
    return value.detach().cpu().numpy() if isinstance(value, Tensor) else value
