"""Turn a user's data into inputs of an ONNX model: images by preprocessing, arrays as they are."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from qacomp.datasets import DATASETS, Dataset, dataset_from_arrays, load_dataset
from qacomp.datasets.custom import call_custom
from qacomp.datasets.npz import read_arrays
from qacomp.datasets.preprocessing import Preprocessing
from qacomp.datasets.preprocessing_choice import choose_preprocessing
from qacomp.datasets.split import SPLIT_SEED
from qacomp.errors import DataError
from qacomp.evaluation.metrics import as_objects
from qacomp.options.config import CompressConfig
from qacomp.options.preprocess import PreprocessOptions
from qacomp.runtime.agreement import Feed
from qacomp.runtime.limits import measuring

_BATCH = 32
_FLOATS = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}
_VALIDATION = 3  # one of so many samples decides, where data has no validation part of its own
Given = str | Dataset | Mapping[str, Any] | Any
"""Data for an ONNX model: a spec, images, arrays by input name, or a user's own batches."""
Part = Literal["all", "validation", "test"]


@dataclass(frozen=True)
class Samples:
    """Inputs of a model. `source`: the data's spec; `feeds`: inputs of each run; `targets`: (N, ...) over all feeds."""

    source: str
    feeds: tuple[Feed, ...]
    targets: NDArray[Any] | None


def load_samples(
    given: Given, inputs: Sequence[Any], config: CompressConfig, stored: Preprocessing | None = None
) -> Samples:
    """Load the samples of a data spec, a Dataset or a mapping of arrays, for a session's `inputs`.

    A mapping (from `module:function` or an npz file) that has an array for each input, by name, is fed as it is: arrays
    (N, ...) of N samples are cut into batches that the model takes, and arrays in exactly the input's shape make a
    single run; `y` holds the targets. Otherwise x_test and y_test are used: x_test is fed to the only input as it is if
    its shape fits; images in [0, 1] are preprocessed as the settings say, or as `stored` says. Targets of different
    shapes become an object array. Raises DataError, with shapes and dtypes, if nothing fits, or if the settings ask for
    preprocessing of arrays.
    """
    found = _part(*_loaded(given), inputs, config, stored)
    assert found is not None  # None stands for a part of the samples
    return found


def load_parts(given: Given, inputs: Sequence[Any], config: CompressConfig) -> tuple[Samples, Samples | None]:
    """Load samples as `load_samples` does, in two disjoint parts: to report on, and to decide on.

    Data with a validation part of its own decides on it, and other labelled data on a third of its samples, drawn by a
    fixed seed. The second part is None without targets, or where the samples are too few to be divided.
    """
    source, loaded = _loaded(given)
    deciding = _part(source, loaded, inputs, config, part="validation")
    if deciding is not None and deciding.targets is not None:
        reported = _part(source, loaded, inputs, config, part="test")
        if reported is not None:
            return reported, deciding
    whole = _part(source, loaded, inputs, config)
    assert whole is not None
    return whole, None


def _part(
    source: str,
    loaded: Dataset | Mapping[str, Any],
    inputs: Sequence[Any],
    config: CompressConfig,
    stored: Preprocessing | None = None,
    part: Part = "all",
) -> Samples | None:
    """Return all samples, or a part of them; None where there is no such part."""
    measuring().on_data()
    if is_batches(loaded):
        return _of_batches(source, loaded, inputs, part)
    if not inputs:
        raise DataError(f"{source}: the model has no inputs, so it can't be run on data; leave --data out")
    if isinstance(loaded, Mapping) and all(entry.name in loaded for entry in inputs):
        _refuse_preprocessing(source, config)
        arrays = {entry.name: _array(source, entry.name, loaded[entry.name]) for entry in inputs}
        return _divided(source, arrays, _targets(loaded.get("y")), inputs, part)
    first = inputs[0]
    if len(inputs) > 1:
        names = ", ".join(entry.name for entry in inputs)
        raise DataError(f"{source}: the model has several inputs; give an array for each of {names}")
    name = "x_test" if isinstance(loaded, Mapping) and "x_test" in loaded else "x"
    if isinstance(loaded, Mapping) and name in loaded:
        x = _array(source, name, loaded[name])
        if x.ndim == len(first.shape) and x.dtype.kind == "f" and _fits(x.shape[1:], first.shape[1:]):
            _refuse_preprocessing(source, config)
            return _divided(source, {first.name: x}, _targets(loaded.get("y_test")), inputs, part)
    dataset = loaded if isinstance(loaded, Dataset) else dataset_from_arrays(loaded)
    split = dataset.val if part == "validation" else dataset.test
    x = _preprocessing(source, first.shape, dataset, config, stored).apply(split.x)  # (N, C, H, W)
    return _in_batches(source, {first.name: x}, split.y, inputs)


def _divided(
    source: str, arrays: dict[str, NDArray[Any]], targets: NDArray[Any] | None, inputs: Sequence[Any], part: Part
) -> Samples | None:
    """Return the samples of a part, a third of them for validation; None if they can't be divided."""
    whole = _in_batches(source, arrays, targets, inputs)
    if part == "all":
        return whole
    count = 0 if targets is None or not targets.ndim else len(targets)
    if any(not a.ndim or len(a) != count for a in arrays.values()) or (len(whole.feeds) == 1 and count == 1):
        return None
    fixed = [e.shape[0] for e in inputs if e.shape and isinstance(e.shape[0], int) and e.shape[0] > 0]
    stacked = all(arrays[e.name].ndim == len(e.shape) + 1 for e in inputs)
    if count // _VALIDATION < (1 if stacked or not fixed else min(fixed)):
        return None
    chosen = np.random.default_rng(SPLIT_SEED).permutation(count) < count // _VALIDATION
    rows = np.flatnonzero(chosen if part == "validation" else ~chosen)
    own = None if targets is None else targets[rows]
    return _in_batches(source, {name: a[rows] for name, a in arrays.items()}, own, inputs)


def _loaded(given: Given) -> tuple[str, Any]:
    if isinstance(given, Dataset):
        return given.spec, given
    if not isinstance(given, str):
        return "arrays" if isinstance(given, Mapping) else "data", given
    kind, _, argument = given.partition(":")
    if kind == "npz":
        return given, read_arrays(Path(os.path.expanduser(argument)))
    custom = call_custom(kind, argument) if argument and kind not in DATASETS.names() else None
    return given, load_dataset(given) if custom is None else custom


def own_batches(given: Given) -> tuple[str, Any] | None:
    """Return (spec, data) for a user's own batches, None for arrays and images; `module:function` is called."""
    source, loaded = _loaded(given)
    return (source, loaded) if is_batches(loaded) else None


def is_batches(loaded: Any) -> bool:
    """Return whether data is a loader, a dataset, batches, or parts of these; not images and not plain arrays."""
    if isinstance(loaded, Dataset):
        return False
    return "train" in loaded if isinstance(loaded, Mapping) else True


def _of_batches(source: str, loaded: Any, inputs: Sequence[Any], part: Part) -> Samples:
    from qacomp.evaluation.own_samples import held_feeds, own_part

    feeds, targets, whole = held_feeds(own_part(source, loaded, inputs, validation=part == "validation"), inputs)
    return Samples(source if whole else f"the first batches of {source}", tuple(feeds), targets)


def _in_batches(
    source: str, arrays: dict[str, NDArray[Any]], targets: NDArray[Any] | None, inputs: Sequence[Any]
) -> Samples:
    """Cut arrays (N, ...) into the batches that the model takes in a run."""
    typed = {e.name: arrays[e.name].astype(_FLOATS.get(e.type, arrays[e.name].dtype), copy=False) for e in inputs}
    for name, array in typed.items():
        if array.dtype.kind not in "fiubOUS":
            raise DataError(
                f"{source}: {name} is {array.dtype}{list(array.shape)}, but a model takes numbers or strings only"
            )
    counts = {len(a) if a.ndim else 0 for a in typed.values()}
    if all(_fits(a.shape, e.shape) for a, e in zip(typed.values(), inputs, strict=True)) and _is_single(typed, inputs):
        return Samples(source, (typed,), targets)
    if len(counts) != 1 or counts == {0}:
        raise DataError(f"{source}: the arrays for the inputs have different numbers of samples: {sorted(counts)}")
    stacked = [a.ndim == len(e.shape) + 1 for a, e in zip(typed.values(), inputs, strict=True)]
    if any(stacked) and not all(stacked):
        raise DataError(
            f"{source}: some arrays have an axis of samples in front of the input's own axes, and others don't; give "
            "all of them one"
        )
    n = counts.pop()
    if targets is not None and (not targets.ndim or len(targets) != n):
        told = f"{targets.dtype}{list(targets.shape)}"
        raise DataError(f"{source}: {n} samples, but targets {told}; give one target for each sample")
    if all(stacked):
        feeds = [{name: a[i] for name, a in typed.items()} for i in range(n)]
        return Samples(source, tuple(feeds), targets)
    fixed = {e.shape[0] for e in inputs if e.shape and isinstance(e.shape[0], int) and e.shape[0] > 0}
    batch = min(fixed) if fixed else _BATCH
    stop = n - n % batch if fixed else n
    if stop == 0:
        raise DataError(f"{source}: {n} samples, but the model takes batches of {batch}; give at least {batch} samples")
    feeds = [{name: a[i : i + batch] for name, a in typed.items()} for i in range(0, stop, batch)]
    return Samples(source, tuple(feeds), None if targets is None else targets[:stop])


def _is_single(typed: dict[str, NDArray[Any]], inputs: Sequence[Any]) -> bool:
    """Return whether arrays with the inputs' ranks make one feed: their first axes differ, or an input is a scalar."""
    return len({a.shape[:1] for a in typed.values()}) > 1 or any(not e.shape for e in inputs)


def _fits(shape: Sequence[int], wanted: Sequence[Any]) -> bool:
    return len(shape) == len(wanted) and all(
        not isinstance(w, int) or w < 0 or w == s for s, w in zip(shape, wanted, strict=True)
    )


def _refuse_preprocessing(source: str, config: CompressConfig) -> None:
    if config.preprocess != PreprocessOptions():
        raise DataError(f"--preprocess: {source} holds arrays, which are fed without preprocessing; leave it out")


def _array(source: str, name: str, value: Any) -> NDArray[Any]:
    """Return the value as an array. Raises DataError for lists of different lengths."""
    try:
        return np.asarray(value)
    except ValueError as error:  # lists of different lengths; numpy's text may hold values
        raise DataError(f"{source}: {name} holds arrays of different shapes; pad them to one array") from error


def _targets(value: Any) -> NDArray[Any] | None:
    """Return targets (N, ...), or an object array (N,) if their shapes differ between samples."""
    if value is None:
        return None
    try:
        array = np.asarray(value)
    except ValueError:
        return as_objects([np.asarray(item) for item in value])
    return as_objects(list(value)) if array.dtype.kind == "O" and array.ndim > 1 else array


def _preprocessing(
    source: str, shape: Sequence[Any], dataset: Dataset, config: CompressConfig, stored: Preprocessing | None
) -> Preprocessing:
    """Return the preprocessing: `stored`, else one to the input's channels and size, with the settings' changes.

    Open axes of the input take the images' own size.
    """
    if stored is not None:
        return choose_preprocessing(config, stored)
    if len(shape) != 4:
        raise DataError(
            f"{source}: holds images, but the model's input has shape {list(shape)}; give arrays by input name"
        )
    images = dataset.test.x.shape
    own = (images[3] if len(images) == 4 else 1, images[1], images[2])
    channels, height, width = (w if isinstance(w, int) and w > 0 else o for w, o in zip(shape[1:], own, strict=True))
    if channels not in (1, 3):
        raise DataError(
            f"{source}: holds images, but the model's input has {channels} channels; give arrays by input name"
        )
    plain = Preprocessing((height, width), channels, (0.0,) * channels, (1.0,) * channels)
    return choose_preprocessing(config, plain)
