"""Read the two formats of torch.save: the zip archive (since torch 1.6), and the legacy stream of pickles."""

import mmap
import struct
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from qacomp.checkpoints.recognition import LEGACY_START
from qacomp.checkpoints.stored import LegacyStored, Stored, ZipStored, stored_record, view_tensors
from qacomp.checkpoints.torch_pickle import LARGEST_PICKLE, TorchPickle
from qacomp.checkpoints.views import Storage, View
from qacomp.errors import CheckpointError, NotACheckpointError
from qacomp.pickles import walked

if TYPE_CHECKING:
    from torch import Tensor

_LARGEST_HEADER = 4096  # bytes of a pickle with the protocol (a number) or the system (a small dict)


@dataclass(frozen=True)
class Described:
    """The object that torch.save wrote, with Views instead of tensors; stored: where their bytes are."""

    value: Any
    stored: Stored


@contextmanager
def opened_torch(path: Path, file: BinaryIO, kind: str, size: int) -> Iterator[Described]:
    """Yield the object in a zip or legacy file of `size` bytes, checked; no code is run and no tensor is read yet.

    Raises UnsafePickleError and NotACheckpointError.
    """
    file.seek(0)
    if kind != "zip":
        yield _legacy(path, file, size)
        return
    try:
        with zipfile.ZipFile(file) as archive:
            yield _zipped(path, archive, size)
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise NotACheckpointError(f"{path}: a damaged zip file ({reason}); copy or download it again") from error


def load_plain(path: Path) -> Any:
    """Return the object in a zip file of torch.save: lists, tuples, dicts, plain values and tensors.

    No code of the file is run. Raises UnsafePickleError, NotACheckpointError, CheckpointError and OSError.
    """
    size = path.stat().st_size
    with path.open("rb") as file, opened_torch(path, file, "zip", size) as described:
        views = [value for value in walked(described.value) if isinstance(value, View)]
        return _copied(described.value, view_tensors(path, views, described.stored, size), {})


def _copied(value: Any, tensors: "Mapping[View, Tensor]", made: dict[int, Any]) -> Any:
    """Return a copy with tensors instead of Views. Each container is copied once; the reader has bounded the depth."""
    if isinstance(value, View):
        return tensors[value]
    if id(value) in made:
        return made[id(value)]
    if isinstance(value, dict):
        copy: dict[Any, Any] = {}
        made[id(value)] = copy
        copy.update((key, _copied(entry, tensors, made)) for key, entry in value.items())
    elif isinstance(value, list):
        items: list[Any] = []
        made[id(value)] = items
        items.extend(_copied(entry, tensors, made) for entry in value)
    elif isinstance(value, tuple):
        made[id(value)] = tuple(_copied(entry, tensors, made) for entry in value)
    return made.get(id(value), value)


def load_trusted(path: Path, file: BinaryIO) -> Any:
    """Return the result of torch.load, which runs the pickle's code. Raises NotACheckpointError, CheckpointError.

    Classes that it names are found in the working directory too, as those of --arch and --data are.
    """
    import torch

    from qacomp.datasets.custom import working_directory_on_the_path

    file.seek(0)
    try:
        with working_directory_on_the_path(), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # about pickle protocols and sources; a user can't act on them
            return torch.load(file, map_location="cpu", weights_only=False)
    except (ModuleNotFoundError, AttributeError) as error:
        needed = " ".join(str(error).split())
        raise CheckpointError(
            f"{path}: its pickle needs a module that is neither installed nor here ({needed})"
        ) from error
    except Exception as error:  # the pickle or torch may raise anything
        reason = " ".join(str(error).split())[:200]
        raise NotACheckpointError(f"{path}: torch.load fails: {type(error).__name__}: {reason}") from error


def _zipped(path: Path, archive: zipfile.ZipFile, size: int) -> Described:
    names = set(archive.namelist())
    if len(names) != len(archive.namelist()):
        raise NotACheckpointError(f"{path}: it has two zip records with the same name; damaged?")
    stem = _stem(path, names)
    pickled = TorchPickle(path, stored_record(path, archive, f"{stem}data.pkl", LARGEST_PICKLE))
    if sum(info.file_size for info in archive.infolist()) > size:
        raise NotACheckpointError(f"{path}: its zip records claim more bytes than the file has; damaged or re-packed?")
    order = f"{stem}byteorder"
    told = stored_record(path, archive, order, _LARGEST_HEADER) if order in names else b"little"
    stored = ZipStored(path, archive, f"{stem}data/", told)
    value = pickled.load()
    for storage in pickled.storages.values():
        stored.info(storage)
    return Described(value, stored)


def _stem(path: Path, records: set[str]) -> str:
    """Return the archive's folder that holds the pickle, with a slash."""
    found = [name.removesuffix("data.pkl") for name in records if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(found) != 1:
        if any(name.endswith(".npy") for name in records):
            raise NotACheckpointError(f"{path}: not a checkpoint but a numpy archive; as data it is --data npz:FILE")
        raise NotACheckpointError(f"{path}: a zip file that torch.save didn't write (it has no data.pkl)")
    return found[0]


def _legacy(path: Path, file: BinaryIO, size: int) -> Described:
    """Read five pickles (magic, protocol, system, object, keys), then find each storage (a count and its bytes)."""
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as stream:
        place = len(LEGACY_START)
        for _ in range(2):
            header = TorchPickle(path, stream, place, _LARGEST_HEADER)
            header.load()
            place = header.place
        pickled = TorchPickle(path, stream, place)
        value = pickled.load()
        keys = TorchPickle(path, stream, pickled.place)
        listed = keys.load()
        listed = [str(key) for key in listed if isinstance(key, str | int)] if isinstance(listed, list) else []
        if sorted(listed) != sorted(pickled.storages):
            raise NotACheckpointError(f"{path}: its list of storages doesn't match its tensors; damaged?")
        place, places = keys.place, {}
        for key in listed:
            storage = pickled.storages[key]
            _check_legacy_storage(path, stream[place : place + 8], place + 8, storage, size)
            places[key] = place + 8
            place += 8 + storage.nbytes
    return Described(value, LegacyStored(file, places))


def _check_legacy_storage(path: Path, count: bytes, start: int, storage: Storage, size: int) -> None:
    """Check a storage in the file against its declaration: the count before it, and that its bytes are there."""
    if len(count) < 8 or start + storage.nbytes > size:
        raise NotACheckpointError(
            f"{path}: truncated: the storage {storage.key[:80]!r} needs {storage.nbytes} bytes, but the file has "
            f"{max(0, size - start)} left; copy or download it again"
        )
    if struct.unpack("<q", count)[0] != storage.numel:
        raise NotACheckpointError(f"{path}: the storage {storage.key[:80]!r} has another size than declared; damaged?")
