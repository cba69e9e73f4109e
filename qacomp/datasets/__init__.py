"""Load data by its spec: `digits`, `mnist:DIR`, `npz:FILE`, ... Each file here registers one kind; none needs torch."""

import difflib
from collections.abc import Mapping
from typing import Any

import numpy as np

from qacomp.datasets.custom import load_custom, source_from_arrays
from qacomp.datasets.named import NamedData, chosen_spec
from qacomp.datasets.registry import DATASETS, DatasetKind, list_datasets, register_dataset
from qacomp.datasets.split import Dataset, Source, Split, checked, owned, separate
from qacomp.errors import ConfigError, DataError, UnknownDataSpecError
from qacomp.extras import naming_extra

__all__ = [
    "DATASETS",
    "Dataset",
    "DatasetKind",
    "NamedData",
    "Source",
    "Split",
    "chosen_spec",
    "dataset_from_arrays",
    "list_datasets",
    "load_dataset",
    "register_dataset",
]


def load_dataset(spec: str, *, validation_fraction: float = 0.1) -> Dataset:
    """Load the data spec that a user gave into disjoint train, val and test parts (see `Split`).

    A spec out of a file is a `NamedData` instead, and is never loaded here. If the data has no validation part,
    `validation_fraction` of each class is moved from the training part, chosen by a fixed seed. Raises
    `UnknownDataSpecError` (lists the known kinds), `DataError` (files missing or malformed, labels out of range,
    lengths that disagree, empty parts, NaN), `ConfigError` (validation_fraction isn't between 0 and 1).
    """
    if not 0 < validation_fraction < 1:
        raise ConfigError(f"the validation fraction must lie between 0 and 1, not be {validation_fraction}")
    with naming_extra(f"the data {spec.partition(':')[0][:80]!r}"):
        loaded = _load(spec)
    return _prepared(spec, loaded, validation_fraction)


def dataset_from_arrays(arrays: Mapping[str, Any]) -> Dataset:
    """Make a dataset from x_train, y_train, x_test, y_test and optionally x_val, y_val, num_classes; see `Split`.

    Raises `DataError` for missing arrays, and for the same reasons as `load_dataset`.
    """
    return _prepared("arrays", source_from_arrays("arrays", arrays), 0.1)


def _prepared(spec: str, loaded: Source | Dataset, validation_fraction: float) -> Dataset:
    if isinstance(loaded, Dataset):
        loaded = Source(loaded.train, loaded.test, loaded.val, loaded.num_classes)
    train, test = checked(f"{spec}: train", loaded.train), checked(f"{spec}: test", loaded.test)
    if loaded.val is None:
        train, val = separate(train, validation_fraction)
    else:
        val = checked(f"{spec}: val", loaded.val)
    if len(train) == 0 or len(val) == 0:
        raise DataError(
            f"{spec}: {len(train) + len(val)} training images are too few to use {validation_fraction:.0%} of them "
            "for validation; give more"
        )
    num_classes = int(train.y.max()) + 1 if loaded.num_classes is None else loaded.num_classes
    dataset = Dataset(spec, num_classes, owned(train), owned(val), owned(test))
    _check_agreement(dataset)
    return dataset


def _load(spec: str) -> Source | Dataset:
    name, colon, argument = spec.partition(":")
    if name not in DATASETS.names():
        if colon and (custom := load_custom(name, argument)) is not None:
            return custom
        usages = [kind.usage for kind in list_datasets()]
        others = [known for known in DATASETS.names() if known not in DATASETS.here()]
        close = difflib.get_close_matches(name, DATASETS.names(), n=1)
        hints = [usage for usage in (*usages, *others) if usage.partition(":")[0] in close]
        hint = f"did you mean {hints[0]}? " if hints else ""
        known = ", ".join((*usages, *others))
        raise UnknownDataSpecError(f"unknown data {spec!r}: {hint}give one of {known}, module:function")
    kind = DATASETS.find(name)
    if bool(argument) != bool(kind.argument) or (colon and not argument):
        raise UnknownDataSpecError(f"data {spec!r} must be written as {kind.usage}")
    return kind.load(argument)


def _check_agreement(dataset: Dataset) -> None:
    if dataset.num_classes < 2:
        raise DataError(f"{dataset.spec}: only {dataset.num_classes} class; a classifier needs at least 2")
    for name, part in (("train", dataset.train), ("val", dataset.val), ("test", dataset.test)):
        if part.x.shape[1:] != dataset.train.x.shape[1:]:
            raise DataError(
                f"{dataset.spec}: {name} images are {part.x.shape[1:]}, but train images are "
                f"{dataset.train.x.shape[1:]}; give all parts the same shape"
            )
        if (largest := int(np.max(part.y))) >= dataset.num_classes:
            raise DataError(
                f"{dataset.spec}: {name} has label {largest}, out of range for {dataset.num_classes} classes "
                f"(0 to {dataset.num_classes - 1}); correct the labels or num_classes"
            )
