"""torch.save's two formats: the zip archive (torch 1.6 on) and the legacy stream of pickles and storages."""

import io
import mmap
import struct
import warnings
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

from qacomp.checkpoints.pickle_plan import PicklePlan, StoragePlan, plan_pickle
from qacomp.checkpoints.recognition import LEGACY_START
from qacomp.checkpoints.tensors import check_expansion
from qacomp.errors import CheckpointError, NotACheckpointError


def load_torch(path: Path, file: BinaryIO, kind: str, size: int, *, trust_pickle: bool) -> Any:
    """The object that torch.save wrote. Without `trust_pickle` nothing of the file is executed, and what it declares is
    compared with what it has before anything is allocated.

    Raises `UnsafePickleError`, `NotACheckpointError`, or `CheckpointError` for tensors of kinds that can't be taken.
    """
    if not trust_pickle:
        plan = _plan_zip(path, file, size) if kind == "zip" else _plan_legacy(path, file, size)
        _check_tensors(path, plan, size)
    file.seek(0)
    return _load(path, file, trust_pickle)


def _load(path: Path, file: BinaryIO, trust_pickle: bool) -> Any:
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # on pickle protocols and sources: nothing a user could act on
            return torch.load(file, map_location="cpu", weights_only=not trust_pickle)
    except (ModuleNotFoundError, AttributeError) as error:
        needed = " ".join(str(error).split())
        raise CheckpointError(f"{path}: its pickle needs what isn't installed here ({needed})") from error
    except Exception as error:  # whatever the pickle or torch raises, the file can't be used
        reason = " ".join(str(error).split())[:200]
        raise NotACheckpointError(f"{path}: torch.load fails: {type(error).__name__}: {reason}") from error


def _plan_zip(path: Path, file: BinaryIO, size: int) -> PicklePlan:
    try:
        with zipfile.ZipFile(file) as archive:
            records = _records(path, archive, size)
            stem = _stem(path, records)
            return _planned_records(path, archive, records, stem)
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise NotACheckpointError(f"{path}: a damaged zip file ({reason}); copy or download it again") from error


def _records(path: Path, archive: zipfile.ZipFile, size: int) -> dict[str, zipfile.ZipInfo]:
    records: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        if info.filename in records:
            raise NotACheckpointError(f"{path}: the zip record {info.filename} stands in it twice; damaged?")
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
            raise NotACheckpointError(
                f"{path}: the zip record {info.filename} is compressed, which torch.save never does; "
                "a re-packed file? Save the state dict again with torch.save"
            )
        records[info.filename] = info
    if sum(info.file_size for info in records.values()) > size:
        raise NotACheckpointError(f"{path}: its zip records claim more bytes than the file has; damaged?")
    return records


def _stem(path: Path, records: dict[str, zipfile.ZipInfo]) -> str:
    """The folder inside the archive, as torch finds it: that of the first record."""
    found = [name.removesuffix("data.pkl") for name in records if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(found) != 1:
        if any(name.endswith(".npy") for name in records):
            raise NotACheckpointError(f"{path}: no checkpoint but a numpy archive; data is given as npz:FILE")
        raise NotACheckpointError(f"{path}: a zip file that torch.save didn't write (no data.pkl)")
    return found[0]


def _planned_records(
    path: Path, archive: zipfile.ZipFile, records: dict[str, zipfile.ZipInfo], stem: str
) -> PicklePlan:
    plan = plan_pickle(path, io.BytesIO(archive.read(f"{stem}data.pkl")))
    for storage in plan.storages.values():
        record = records.get(f"{stem}data/{storage.key}")
        if record is None:
            raise NotACheckpointError(f"{path}: the storage {storage.key!r} is missing; damaged?")
        if record.file_size != storage.nbytes:
            raise NotACheckpointError(
                f"{path}: the storage {storage.key!r} has {record.file_size} bytes where {storage.nbytes} are declared"
            )
    return plan


def _plan_legacy(path: Path, file: BinaryIO, size: int) -> PicklePlan:
    """magic, protocol, system, object, keys: five pickles; then each storage as its element count and its bytes."""
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as stream:
        stream.seek(len(LEGACY_START))
        _, _, plan, keys = (plan_pickle(path, stream) for _ in range(4))
        listed = [str(key) for key in keys.value] if isinstance(keys.value, list) else []
        if sorted(listed) != sorted(plan.storages):
            raise NotACheckpointError(f"{path}: its list of storages isn't that of its tensors; damaged?")
        for key in listed:
            _check_legacy_storage(path, stream, plan.storages[key], size)
    return plan


def _check_legacy_storage(path: Path, stream: mmap.mmap, storage: StoragePlan, size: int) -> None:
    """Compare the storage at the stream's place with what was declared, and go to its end."""
    count, start = stream.read(8), stream.tell()
    if len(count) < 8 or start + storage.nbytes > size:
        raise NotACheckpointError(
            f"{path}: truncated: the storage {storage.key!r} needs {storage.nbytes} bytes and the file has "
            f"{size - start} left; copy or download it again"
        )
    if struct.unpack("<q", count)[0] != storage.numel:
        raise NotACheckpointError(f"{path}: the storage {storage.key!r} has another size than declared; damaged?")
    stream.seek(start + storage.nbytes)


def _check_tensors(path: Path, plan: PicklePlan, size: int) -> None:
    """Refuse what torch.load would expand or allocate beyond the file, wherever in the object it stands."""
    for tensor in plan.tensors:
        if tensor.problem is not None:
            raise CheckpointError(
                f"{path}: holds a {tensor.problem} tensor{_named(plan, tensor)}; only dense tensors of real numbers "
                "can be compressed: convert it, and save the state dict again"
            )
    check_expansion(path, sum(tensor.nbytes for tensor in plan.tensors), size)


def _named(plan: PicklePlan, wanted: object) -> str:
    """The tensor's name in brackets where the tensor stands within the object, at most three mappings deep."""
    level = [("", plan.value)]
    for _ in range(3):
        deeper: list[tuple[str, Any]] = []
        for prefix, value in level:
            for key, entry in value.items() if isinstance(value, dict) else ():
                if entry is wanted:
                    return f" ({prefix}{key})"
                deeper.append((f"{prefix}{key}.", entry))
        level = deeper
    return ""
