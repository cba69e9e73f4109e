"""Read the bytes of storages from each form of file, and make tensors from them."""

import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

from qacomp.checkpoints.views import ITEM_BYTES, Quantized, Storage, View, check_sizes
from qacomp.errors import NotACheckpointError
from qacomp.tensors.torch_quantized import quantized

if TYPE_CHECKING:
    from torch import Tensor

_CHUNK = 4 << 20


class Stored(Protocol):
    """The storages of one file."""

    def open(self, storage: Storage) -> BinaryIO:
        """Return a stream that begins with the storage's bytes. Raises NotACheckpointError if its size is wrong."""

    def swapped(self) -> bool:
        """Return whether the file is big-endian, so that bytes must be swapped."""


class ZipStored:
    """The storages of a zip file: records named folder + key. Compressed records are refused."""

    def __init__(self, path: Path, archive: zipfile.ZipFile, folder: str, order: bytes = b"little") -> None:
        self.path, self.archive, self.folder, self.order = path, archive, folder, order

    def info(self, storage: Storage) -> zipfile.ZipInfo:
        """Return a storage's record. Raises NotACheckpointError unless it has the declared size."""
        info = stored_info(self.path, self.archive, f"{self.folder}{storage.key}")
        if info.file_size != storage.nbytes:
            raise NotACheckpointError(
                f"{self.path}: the storage {storage.key[:80]!r} has {info.file_size} bytes, but {storage.nbytes} are "
                "declared; damaged?"
            )
        return info

    def open(self, storage: Storage) -> BinaryIO:
        """Return a stream of the record's bytes; zipfile checks their checksum at the end."""
        stream: BinaryIO = self.archive.open(self.info(storage))  # type: ignore[assignment]
        return stream

    def swapped(self) -> bool:
        """Return whether the record `byteorder` says "big"."""
        return self.order == b"big"


class LegacyStored:
    """The storages of torch's legacy format; places: byte offset of each, by key."""

    def __init__(self, file: BinaryIO, places: Mapping[str, int]) -> None:
        self.file, self.places = file, places

    def open(self, storage: Storage) -> BinaryIO:
        """Return the file, positioned at the storage's first byte."""
        self.file.seek(self.places[storage.key])
        return self.file

    def swapped(self) -> bool:
        """Return False, since torch writes the legacy format little-endian on all machines."""
        return False


def made_tensors(path: Path, views: Mapping[str, View], stored: Stored, size: int) -> "dict[str, Tensor]":
    """Return the tensors of views by name, in the same order; see `view_tensors`."""
    made = view_tensors(path, views.values(), stored, size)
    return {name: made[view] for name, view in views.items()}


def described_tensors(
    path: Path, state: "Mapping[str, View | Quantized]", stored: Stored, size: int
) -> "dict[str, Tensor]":
    """Return the tensors of views and quantized tensors by name, in the same order; see `view_tensors`."""
    parts: dict[str, View] = {}
    for name, described in state.items():
        parts |= described.views(name) if isinstance(described, Quantized) else {name: described}
    made = made_tensors(path, parts, stored, size)
    for name, described in state.items():
        if isinstance(described, Quantized):
            scale = made.get(f"{name}\0scale", described.scale)
            zero_point = made.get(f"{name}\0zero_point", described.zero_point)
            made[name] = quantized(made[name], scale, zero_point, described.axis)
    return {name: made[name] for name in state}


def view_tensors(path: Path, views: Collection[View], stored: Stored, size: int) -> "dict[View, Tensor]":
    """Return a contiguous CPU tensor for each view; equal views (tied weights) get the same tensor.

    Each storage is read once. size: bytes of the file. Raises NotACheckpointError, and CheckpointError if the tensors
    would take far more memory than the file.
    """
    import torch

    check_sizes(path, views, size)
    by_storage: dict[Storage, dict[View, None]] = {}
    for view in views:
        by_storage.setdefault(view.storage, {})[view] = None
    made: dict[View, Tensor] = {}
    for storage, wanted in by_storage.items():
        data = _read(path, storage, stored)  # (nbytes,) uint8
        for view in wanted:
            dtype: torch.dtype = getattr(torch, view.dtype)
            if not view.numel:
                made[view] = torch.zeros(view.shape, dtype=dtype)
                continue
            flat = data[: data.numel() // dtype.itemsize * dtype.itemsize].view(dtype)
            tensor = flat.as_strided(view.shape, view.strides, view.offset)
            whole = tensor.is_contiguous() and view.nbytes == storage.nbytes
            made[view] = tensor if whole else tensor.clone(memory_format=torch.contiguous_format)
    return made


def stored_info(path: Path, archive: zipfile.ZipFile, name: str) -> zipfile.ZipInfo:
    """Return an uncompressed zip record. Raises NotACheckpointError if it is missing or compressed."""
    try:
        info = archive.getinfo(name)
    except KeyError:
        raise NotACheckpointError(f"{path}: the zip record {name[:80]} is missing; damaged?") from None
    if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
        raise NotACheckpointError(
            f"{path}: the zip record {name[:80]} is compressed, which torch never does (re-packed?); save it again"
        )
    return info


def stored_record(path: Path, archive: zipfile.ZipFile, name: str, largest: int | None = None) -> bytes:
    """Return the bytes of an uncompressed zip record. Raises NotACheckpointError if it has more than `largest`."""
    info = stored_info(path, archive, name)
    if largest is not None and info.file_size > largest:
        raise NotACheckpointError(
            f"{path}: the zip record {name[:80]} has {info.file_size} bytes, more than {largest}; damaged?"
        )
    return archive.read(info)


def _read(path: Path, storage: Storage, stored: Stored) -> "Tensor":
    """Return a storage's bytes, (nbytes,) uint8, with numbers in little-endian order."""
    import torch

    data = torch.empty(storage.nbytes, dtype=torch.uint8)
    numbers = data.numpy()
    place, stream = 0, stored.open(storage)
    while place < storage.nbytes:
        chunk = stream.read(min(_CHUNK, storage.nbytes - place))
        if not chunk:
            raise NotACheckpointError(f"{path}: the storage {storage.key[:80]!r} is cut off; copy or download it again")
        numbers[place : place + len(chunk)] = memoryview(chunk)
        place += len(chunk)
    if stored.swapped():
        item = ITEM_BYTES[storage.dtype] // (2 if storage.dtype.startswith("complex") else 1)
        numbers[:] = numbers.reshape(-1, item)[:, ::-1].reshape(-1).copy()
    return data
