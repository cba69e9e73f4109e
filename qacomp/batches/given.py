"""Take whatever a PyTorch user has as data: loaders, datasets, iterables of batches, arrays, in parts or as a whole."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset

from qacomp.batches.arrays import ArrayBatches, array_batches, array_parts
from qacomp.batches.examples import Batches
from qacomp.batches.feed import told
from qacomp.batches.form import TARGETS, BatchForm
from qacomp.batches.loaders import LoadedExamples
from qacomp.batches.splitting import Whole
from qacomp.errors import DataError

_PARTS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
_NOT_DEFINED = ("NotImplementedError", "MisconfigurationException")
"""What Lightning raises for a loader that a module doesn't define, by name: Lightning may not be installed."""
_COLLATED = 64
"""Examples in a batch of an IterableDataset: the batch size that the settings ask for isn't known yet."""
_ONCE = (
    "can be iterated only once, and a training needs many passes; give a DataLoader, a list of batches, or an object "
    "whose __iter__ begins anew"
)


def load_examples(given: Any, network: nn.Module | BatchForm, spec: str = "data") -> LoadedExamples:
    """Return the parts of a user's data for a network.

    given: a DataLoader, a map-style or iterable dataset, an iterable of batches, or arrays (x, y), of which validation
    and test parts are split off; or several in a mapping (`train`, `val`, `test`), in a tuple (train, val[, test]), or
    a LightningDataModule; or a mapping of arrays x_train, y_train, x_test, y_test. Without a test part results are
    measured on the validation part. network: whose forward says what the inputs are; or that. Raises DataError, which
    names types, shapes and dtypes, never values.
    """
    form = network if isinstance(network, BatchForm) else BatchForm.of(spec, network)
    if isinstance(given, Mapping) and any(str(name).startswith("x_") for name in given):
        return _complete(spec, {name: Whole(part, form) for name, part in array_parts(spec, given, form).items()})
    parts = _parts(spec, given)
    return _complete(spec, {name: _whole(f"{spec}: {name}", part, form) for name, part in parts.items()})


def _parts(spec: str, given: Any) -> dict[str, Any]:
    if callable(getattr(given, "train_dataloader", None)):
        return _of_module(spec, given)
    if isinstance(given, Mapping):
        named = {_PARTS[name]: part for name, part in given.items() if name in _PARTS and part is not None}
        if "train" not in named:
            names = ", ".join(str(name)[:40] for name in list(given)[:8])
            raise DataError(
                f"{spec}: a mapping must have train (and val, test), or x_train, y_train, ...; it has {names}"
            )
        return named
    if isinstance(given, tuple) and 2 <= len(given) <= 3 and all(_is_whole(part) for part in given):
        return dict(zip(("train", "val", "test"), given, strict=False))
    return {"train": given}


def _of_module(spec: str, module: Any) -> dict[str, Any]:
    """Return the loaders of a LightningDataModule."""
    called = [("prepare_data", ()), ("setup", ("fit",)), ("train_dataloader", ()), ("val_dataloader", ())]
    called += [("setup", ("test",)), ("test_dataloader", ())]
    found = {name: _hook(spec, module, name, given) for name, given in called}
    parts = {part: found[f"{part}_dataloader"] for part in ("train", "val", "test")}
    return {name: part for name, part in parts.items() if part is not None}


def _hook(spec: str, module: Any, name: str, given: tuple[str, ...]) -> Any:
    """Call a method of a LightningDataModule; None if it isn't defined. Raises DataError if it fails."""
    hook = getattr(module, name, None)
    try:
        return hook(*given) if callable(hook) else None
    except Exception as error:  # a user's method may raise anything
        if type(error).__name__ in _NOT_DEFINED and name != "train_dataloader":
            return None
        text = " ".join(str(error).split())[:200]
        raise DataError(f"{spec}: {type(module).__name__}.{name} failed: {type(error).__name__}: {text}") from error


def _is_whole(part: Any) -> bool:
    return isinstance(part, DataLoader | Dataset)


def _whole(spec: str, given: Any, form: BatchForm) -> Whole:
    own = replace(form, spec=spec)
    if isinstance(given, tuple) and len(given) >= 2 and all(_is_array(part) for part in given):
        *x, y = given
        return Whole(array_batches(spec, x[0] if len(x) == 1 else tuple(x), y, own), own)
    if isinstance(given, Tensor | np.ndarray | str | bytes) or not (
        hasattr(given, "__iter__") or hasattr(given, "__getitem__")
    ):
        raise DataError(f"{spec}: {told(given)} isn't data; give a DataLoader, a Dataset, batches, or arrays (x, y)")
    if isinstance(given, Iterator):
        raise DataError(f"{spec}: {type(given).__name__} {_ONCE}")
    return Whole(_collated(given), own)


def _collated(given: Any) -> Any:
    """Return an IterableDataset that gives examples as a loader of batches; anything else as it is.

    As in torch a dataset gives examples. One whose first item has inputs and targets with the same first size, above 1,
    gives batches: of one example the inputs would have a first axis of channels or positions.
    """
    if not isinstance(given, IterableDataset):
        return given
    try:
        first = next(iter(given), None)
    except Exception:  # the error is told when the batches are read
        return given
    return given if first is None or _is_batch(first) else DataLoader(given, batch_size=_COLLATED)


def _is_batch(item: Any) -> bool:
    parts = [part for name, part in item.items() if not isinstance(part, str)] if isinstance(item, Mapping) else item
    if isinstance(item, Mapping) and not any(name in item for name in TARGETS):
        return True  # the error about missing targets comes with the batch
    tensors = (
        [part for part in parts if isinstance(part, Tensor | np.ndarray)] if isinstance(parts, tuple | list) else []
    )
    sizes = {tensor.shape[0] if tensor.ndim else 1 for tensor in tensors}
    return len(tensors) == len(parts) and len(sizes) == 1 and max(sizes) > 1 and max(t.ndim for t in tensors) > 1


def _is_array(part: Any) -> bool:
    if isinstance(part, Mapping):
        return bool(part) and all(_is_array(entry) for entry in part.values())
    if isinstance(part, tuple):
        return bool(part) and all(_is_array(entry) for entry in part)
    return isinstance(part, Tensor | np.ndarray)


def _complete(spec: str, found: dict[str, Whole]) -> LoadedExamples:
    """Split off the parts that are missing."""
    notes: list[str] = []
    parts: dict[str, Batches] = {name: whole.batches() for name, whole in found.items() if name != "train"}
    split = [name for name in ("val", "test") if name not in found and (name == "val" or "val" not in found)]
    if split:
        parts |= found["train"].split(split)
        said = "a tenth" if len(split) == 1 else "a tenth each"
        notes.append(f"{spec}: {said} of the training data is kept for {' and '.join(map(_said, split))}")
    else:
        parts["train"] = found["train"].batches()
    if "test" not in parts:
        parts["test"] = parts["val"]
        notes.append(f"{spec}: no test part, so results are measured on the validation part, which chooses epochs too")
    for name, part in parts.items():
        if not isinstance(part, ArrayBatches) and next(iter(part.in_order(64)), None) is None:
            raise DataError(f"{spec}: {name}: there are no batches; check the loader's length and drop_last")
    return LoadedExamples(spec, parts["train"], parts["val"], parts["test"], notes=tuple(notes))


def _said(name: str) -> str:
    return {"val": "validation", "test": "the test"}[name]
