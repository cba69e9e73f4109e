"""Weights of a TorchScript archive, read without running or even loading its code.

`torch.jit.load` runs no Python, but what it loads can: TorchScript has operators that write files, and an object's
`__setstate__` runs on loading. So the pickle of the module tree is read by stand-ins here: classes are only named,
their state is kept as plain values, and tensors are made of the archive's stored bytes.
"""

import io
import math
import pickle
import zipfile
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from qacomp.checkpoints.tensors import check_expansion
from qacomp.errors import CheckpointError, NotACheckpointError, UnsafePickleError

if TYPE_CHECKING:
    from torch import Tensor

_DTYPES = {
    "DoubleStorage": "float64", "FloatStorage": "float32", "HalfStorage": "float16", "BFloat16Storage": "bfloat16",
    "LongStorage": "int64", "IntStorage": "int32", "ShortStorage": "int16", "CharStorage": "int8",
    "ByteStorage": "uint8", "BoolStorage": "bool",
}  # fmt: skip
_LARGEST_PICKLE = 32 << 20
_DEEPEST = 64


def load_torchscript(path: Path, archive: zipfile.ZipFile, stem: str, size: int) -> "dict[str, Tensor]":
    """Parameters, buffers and tensor attributes by their place in the module tree; constants as CONSTANTS.c0, ...

    size: bytes of the file. Raises NotACheckpointError for a damaged archive, CheckpointError for tensors that can't be
    taken, or would take memory out of proportion.
    """
    state: dict[str, Tensor] = {}
    for record, folder in (("data.pkl", "data"), ("constants.pkl", "constants")):
        value = _unpickled(path, stored_record(path, archive, f"{stem}{record}"))
        if folder == "constants" and isinstance(value, tuple):
            value = {f"CONSTANTS.c{number}": entry for number, entry in enumerate(value)}
        views = _tensors(value, "", _DEEPEST)
        check_expansion(path, sum(8 * math.prod(view.shape) for _, view in views), size)
        for name, view in views:
            state[name] = _made(path, archive, f"{stem}{folder}/", name, view)
    if not state:
        raise NotACheckpointError(f"{path}: a TorchScript archive without tensors")
    return state


@dataclass(frozen=True)
class _View:
    """A tensor as strides over a stored run of values; storage: (kind, key, values)."""

    storage: tuple[str, str, int]
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass
class _Object:
    """An instance of some class of the archive's, of which only the state is kept."""

    state: Any = None


@dataclass(frozen=True)
class _Name:
    module: str
    name: str


class _Reader(pickle._Unpickler):
    """Calls nothing: what a call would make is either known to be a tensor or a list, or nothing."""

    path: Path
    dispatch: ClassVar[dict[int, Any]] = dict(pickle._Unpickler.dispatch)
    stack: list[Any]

    def find_class(self, module_name: str, global_name: str) -> _Name:
        """Name the global; nothing is imported."""
        return _Name(module_name, global_name)

    def persistent_load(self, pid: Any) -> tuple[str, str, int]:
        """("storage", type, key, location, numel) -> (type, key, numel)."""
        if not isinstance(pid, tuple) or len(pid) < 5 or not isinstance(pid[1], _Name) or type(pid[4]) is not int:
            raise NotACheckpointError(f"{self.path}: its pickle refers to something that is no storage; damaged?")
        return pid[1].name, str(pid[2]), pid[4]

    def load_reduce(self) -> None:
        """Call -> what is known of its result."""
        arguments = self.stack.pop()
        self.stack[-1] = self._result(self.stack[-1], arguments)

    def load_newobj(self) -> None:
        """New object -> a stand-in."""
        self.stack.pop()
        self.stack[-1] = _Object()

    def load_build(self) -> None:
        """Keep the state of a stand-in."""
        state = self.stack.pop()
        if isinstance(self.stack[-1], _Object):
            self.stack[-1].state = state

    dispatch[pickle.REDUCE[0]] = load_reduce
    dispatch[pickle.NEWOBJ[0]] = load_newobj
    dispatch[pickle.BUILD[0]] = load_build

    def _result(self, function: Any, arguments: Any) -> Any:
        name = function.name if isinstance(function, _Name) else ""
        if name in ("_rebuild_tensor_v2", "_rebuild_tensor_v3") and len(arguments) >= 4:
            storage, offset, shape, strides = arguments[:4]
            if not all(type(n) is int and n >= 0 for n in (offset, *shape, *strides)):
                raise NotACheckpointError(f"{self.path}: a tensor of impossible sizes; damaged?")
            return _View(storage, offset, tuple(shape), tuple(strides))
        if name.startswith("_rebuild_"):
            raise CheckpointError(
                f"{self.path}: holds a tensor of another kind than dense ({name}): can't be compressed"
            )
        if name == "OrderedDict":
            return OrderedDict()
        if isinstance(function, _Name) and function.module == "torch.jit._pickle" and arguments:
            return arguments[0]  # build_intlist, restore_type_tag, ...: the value itself
        return None


def _unpickled(path: Path, data: bytes) -> Any:
    if len(data) > _LARGEST_PICKLE:
        raise NotACheckpointError(f"{path}: a pickle of {len(data)} bytes without its tensors; damaged?")
    reader = _Reader(io.BytesIO(data), encoding="utf-8")
    reader.path = path
    try:
        return reader.load()
    except (CheckpointError, UnsafePickleError):
        raise
    except Exception as error:  # a malformed pickle can raise anything; nothing of it has run
        raise NotACheckpointError(f"{path}: its pickle is malformed ({type(error).__name__}); damaged?") from error


def _tensors(value: Any, prefix: str, depth: int) -> list[tuple[str, _View]]:
    """(dotted name, tensor) in the order of the tree."""
    if isinstance(value, _View):
        return [(prefix.removesuffix("."), value)]
    if isinstance(value, _Object):
        value = value.state
    if isinstance(value, list | tuple):
        value = dict(enumerate(value))
    if not isinstance(value, dict) or not depth:
        return []
    found = []
    for key, entry in value.items():
        found += _tensors(entry, f"{prefix}{key}.", depth - 1)
    return found


def _made(path: Path, archive: zipfile.ZipFile, folder: str, name: str, view: _View) -> "Tensor":
    """The tensor of a view, its places checked against the bytes that are stored."""
    import torch

    kind, key, numel = view.storage
    if kind not in _DTYPES:
        raise CheckpointError(f"{path}: tensor {name} is of {kind}: can't be compressed")
    dtype: torch.dtype = getattr(torch, _DTYPES[kind])
    data = stored_record(path, archive, f"{folder}{key}")
    sound = len(view.shape) == len(view.strides)
    last = view.offset + sum((n - 1) * s for n, s in zip(view.shape, view.strides, strict=False) if n)
    empty = sound and math.prod(view.shape) == 0
    if not sound or len(data) != numel * dtype.itemsize or (not empty and last >= numel):
        raise NotACheckpointError(f"{path}: tensor {name} reaches outside its {len(data)} stored bytes; damaged?")
    if empty:
        return torch.zeros(view.shape, dtype=dtype)
    if math.prod(view.shape) > numel:
        raise CheckpointError(f"{path}: tensor {name} is an expanded view; save it contiguous")
    stored = torch.frombuffer(bytearray(data), dtype=dtype)  # (numel,)
    return stored.as_strided(view.shape, view.strides, view.offset).clone().contiguous()


def stored_record(path: Path, archive: zipfile.ZipFile, name: str) -> bytes:
    """A stored record's bytes; a compressed one is refused, lest it expand."""
    try:
        info = archive.getinfo(name)
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
            raise NotACheckpointError(f"{path}: the zip record {name} is compressed, which torch never does")
        return archive.read(info)
    except KeyError:
        raise NotACheckpointError(f"{path}: the zip record {name} is missing; damaged?") from None
