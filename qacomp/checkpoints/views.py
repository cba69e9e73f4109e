"""Tensors as a file describes them: a place in a storage. Checked against the storage before anything is allocated."""

import math
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qacomp.checkpoints.tensors import ALLOWANCE, check_expansion
from qacomp.errors import CheckpointError, NotACheckpointError

_LARGEST_RANK = 64
_LARGEST_COUNT = 1 << 62
_DISTINCT = 4  # memory for views, as a multiple of the file: those of honest files hardly overlap
# torch.storage: what each kind of storage holds. Untyped ones are of bytes, until a tensor says otherwise.
STORAGE_DTYPES = {
    "DoubleStorage": "float64", "FloatStorage": "float32", "HalfStorage": "float16", "BFloat16Storage": "bfloat16",
    "LongStorage": "int64", "IntStorage": "int32", "ShortStorage": "int16", "CharStorage": "int8",
    "ByteStorage": "uint8", "BoolStorage": "bool", "UntypedStorage": "uint8", "ComplexDoubleStorage": "complex128",
    "ComplexFloatStorage": "complex64", "QUInt8Storage": "quint8", "QInt8Storage": "qint8", "QInt32Storage": "qint32",
    "QUInt4x2Storage": "quint4x2", "QUInt2x4Storage": "quint2x4",
}  # fmt: skip
ITEM_BYTES = {
    "float64": 8, "float32": 4, "float16": 2, "bfloat16": 2, "int64": 8, "int32": 4, "int16": 2, "int8": 1, "uint8": 1,
    "bool": 1, "complex128": 16, "complex64": 8, "complex32": 4, "uint16": 2, "uint32": 4, "uint64": 8,
    "float8_e4m3fn": 1, "float8_e5m2": 1, "float8_e4m3fnuz": 1, "float8_e5m2fnuz": 1, "float8_e8m0fnu": 1,
    "quint8": 1, "qint8": 1, "qint32": 4, "quint4x2": 1, "quint2x4": 1,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Storage:
    """A run of `numel` values of `dtype` that the file holds under `key`."""

    key: str
    dtype: str
    numel: int

    @property
    def nbytes(self) -> int:
        """Return the bytes that the file must hold."""
        return self.numel * ITEM_BYTES[self.dtype]


@dataclass(frozen=True, slots=True)
class View:
    """A dense tensor: strides, in values of `dtype`, over a storage. Equal views are one tensor."""

    storage: Storage
    dtype: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def numel(self) -> int:
        """Return how many values it has."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Return its bytes when dense."""
        return self.numel * ITEM_BYTES[self.dtype]


@dataclass(frozen=True, slots=True, eq=False)
class Untaken:
    """A tensor of a kind that has no dense values here: `kind` says which (sparse, quantized)."""

    kind: str


@dataclass(frozen=True, slots=True)
class Quantized:
    """Whole numbers that stand for (number − zero_point) · scale; with an axis each slice along it has its own two."""

    view: View
    scale: "float | View"
    zero_point: "int | View"
    axis: int | None = None

    def views(self, name: str) -> dict[str, View]:
        """Return all views that it is made of, by names of their own."""
        found = {name: self.view, f"{name}\0scale": self.scale, f"{name}\0zero_point": self.zero_point}
        return {place: view for place, view in found.items() if isinstance(view, View)}


Described = View | Quantized | Untaken
QUANTIZED = {"qint8": "int8", "quint8": "uint8", "qint32": "int32"}
"""torch's quantized types, and those of their whole numbers."""


def checked_view(where: object, storage: Storage, dtype: str, offset: Any, shape: Any, strides: Any) -> View:
    """Return a View whose sizes are counts and which ends inside the storage. Raises NotACheckpointError."""
    if not is_count(offset) or not _are_counts(shape) or not _are_counts(strides) or len(shape) != len(strides):
        raise NotACheckpointError(f"{where}: a tensor without valid storage, size and strides; damaged?")
    view = View(storage, dtype, offset, tuple(shape), tuple(strides))
    reach = offset + 1 + sum((length - 1) * step for length, step in zip(shape, strides, strict=True))
    if view.numel and reach * ITEM_BYTES[dtype] > storage.nbytes:
        raise NotACheckpointError(
            f"{where}: a tensor of shape {view.shape} reaches beyond its storage {storage.key[:80]!r}; damaged?"
        )
    return view


def is_count(value: object) -> bool:
    """Return whether a value is a number that can count values."""
    return type(value) is int and 0 <= value < _LARGEST_COUNT


def check_sizes(path: Path, views: Collection[View], size: int) -> None:
    """Raise CheckpointError where views, all or the distinct ones, are out of proportion to the file's `size`.

    Tied weights are one tensor in memory, but work under each of their names.
    """
    check_expansion(path, sum(view.nbytes for view in views), size)
    distinct = sum(view.nbytes for view in set(views))
    if distinct > _DISTINCT * size + ALLOWANCE:
        raise CheckpointError(
            f"{path}: its tensors would take {distinct} bytes, from a file of {size}: views that overlap; save copies"
        )


def _are_counts(values: object) -> bool:
    return isinstance(values, list | tuple) and len(values) <= _LARGEST_RANK and all(is_count(v) for v in values)
