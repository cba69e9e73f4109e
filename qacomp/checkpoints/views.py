"""Describe tensors as views of storages in a file, and check them before any memory is allocated."""

import math
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qacomp.checkpoints.tensors import ALLOWANCE, check_expansion
from qacomp.errors import CheckpointError, NotACheckpointError

_LARGEST_RANK = 64
_LARGEST_COUNT = 1 << 62
_DISTINCT = 4  # distinct views may take this many times the file's bytes; in normal files they hardly overlap
# Element types of torch.storage's classes. An untyped storage counts as bytes until a tensor gives it a type.
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
    """A run of `numel` values of type `dtype`, stored in the file under `key`."""

    key: str
    dtype: str
    numel: int

    @property
    def nbytes(self) -> int:
        """Return the bytes that the storage takes in the file."""
        return self.numel * ITEM_BYTES[self.dtype]


@dataclass(frozen=True, slots=True)
class View:
    """A dense tensor in a storage. offset, strides: in values of `dtype`. Equal views are the same tensor."""

    storage: Storage
    dtype: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def numel(self) -> int:
        """Return the number of values."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Return the bytes of the dense tensor."""
        return self.numel * ITEM_BYTES[self.dtype]


@dataclass(frozen=True, slots=True, eq=False)
class Untaken:
    """A tensor that can't be read as dense values; kind: why, such as "sparse"."""

    kind: str


@dataclass(frozen=True, slots=True)
class Quantized:
    """A quantized tensor: integers q with the values (q − zero_point) · scale.

    scale, zero_point: one number each, or views with one entry for each index of `axis`.
    """

    view: View
    scale: "float | View"
    zero_point: "int | View"
    axis: int | None = None

    def views(self, name: str) -> dict[str, View]:
        """Return the views of the integers and, with an axis, of scales and zero points, by unique names."""
        found = {name: self.view, f"{name}\0scale": self.scale, f"{name}\0zero_point": self.zero_point}
        return {place: view for place, view in found.items() if isinstance(view, View)}


Described = View | Quantized | Untaken
QUANTIZED = {"qint8": "int8", "quint8": "uint8", "qint32": "int32"}
"""torch's quantized types, and the types of their integers."""


def checked_view(where: object, storage: Storage, dtype: str, offset: Any, shape: Any, strides: Any) -> View:
    """Return a View. Raises NotACheckpointError unless its sizes are valid and it ends inside the storage."""
    if not is_count(offset) or not _are_counts(shape) or not _are_counts(strides) or len(shape) != len(strides):
        raise NotACheckpointError(f"{where}: a tensor has an invalid offset, shape or strides; damaged?")
    view = View(storage, dtype, offset, tuple(shape), tuple(strides))
    reach = offset + 1 + sum((length - 1) * step for length, step in zip(shape, strides, strict=True))
    if view.numel and reach * ITEM_BYTES[dtype] > storage.nbytes:
        raise NotACheckpointError(
            f"{where}: a tensor of shape {view.shape} reaches beyond its storage {storage.key[:80]!r}; damaged?"
        )
    return view


def is_count(value: object) -> bool:
    """Return whether a value is an int from 0 to 2**62 - 1, as counts of values are."""
    return type(value) is int and 0 <= value < _LARGEST_COUNT


def check_sizes(path: Path, views: Collection[View], size: int) -> None:
    """Raise CheckpointError if the views, all or the distinct ones, take far more bytes than the file's `size`.

    Tied weights are one tensor in memory, but are processed under each of their names, so both numbers are limited.
    """
    check_expansion(path, sum(view.nbytes for view in views), size)
    distinct = sum(view.nbytes for view in set(views))
    if distinct > _DISTINCT * size + ALLOWANCE:
        raise CheckpointError(
            f"{path}: its tensors would take {distinct} bytes in a file of {size}: overlapping views; save copies"
        )


def _are_counts(values: object) -> bool:
    return isinstance(values, list | tuple) and len(values) <= _LARGEST_RANK and all(is_count(v) for v in values)
