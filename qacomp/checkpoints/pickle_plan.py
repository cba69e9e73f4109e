"""A dry run of a checkpoint's pickle: which tensors it would make, from which storages; no code of its, no allocation.

torch.load(weights_only=True) runs no foreign code, but it believes the sizes that it reads: a few bytes can make it
allocate terabytes, and a zip storage that is declared larger than its record is read past its end. So the pickle is run
first against stand-ins that only take notes; the notes are compared with the file; then torch.load reads it.
"""

import io
import math
import mmap
import pickle
import pickletools
from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, ClassVar, cast

from qacomp.errors import NotACheckpointError, UnsafePickleError

_ELEMENT_BYTES = {
    "DoubleStorage": 8, "FloatStorage": 4, "HalfStorage": 2, "BFloat16Storage": 2, "LongStorage": 8, "IntStorage": 4,
    "ShortStorage": 2, "CharStorage": 1, "ByteStorage": 1, "BoolStorage": 1, "UntypedStorage": 1,
    "ComplexDoubleStorage": 16, "ComplexFloatStorage": 8, "QUInt8Storage": 1, "QInt8Storage": 1, "QInt32Storage": 4,
    "QUInt4x2Storage": 1, "QUInt2x4Storage": 1,
}  # fmt: skip
_UNSUPPORTED_CALLS = {
    "_rebuild_qtensor": "quantized",
    "_rebuild_sparse_tensor": "sparse",
    "_rebuild_sparse_csr_tensor": "sparse",
    "_rebuild_nested_tensor": "nested",
    "_rebuild_meta_tensor_no_storage": "meta (without values)",
    "_rebuild_wrapper_subclass": "wrapper-subclass",
    "_rebuild_device_tensor_from_numpy": "accelerator",
    "_rebuild_device_tensor_from_cpu_tensor": "accelerator",
}
_PLAIN_CALLS = ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3")
_PARAMETER_CALLS = ("_rebuild_parameter", "_rebuild_parameter_with_state")
_LARGEST_RANK = 64
_LARGEST_PICKLE = 32 << 20  # names and shapes, no tensors: a thousand layers take a few hundred kilobytes
# What torch's own weights-only reader takes (torch/_weights_only_unpickler.py).
_OPCODES = frozenset(
    (
        "GLOBAL", "NEWOBJ", "REDUCE", "BUILD", "APPEND", "APPENDS", "SETITEM", "SETITEMS", "MARK", "TUPLE", "TUPLE1",
        "TUPLE2", "TUPLE3", "NONE", "NEWFALSE", "NEWTRUE", "EMPTY_TUPLE", "EMPTY_LIST", "EMPTY_DICT", "EMPTY_SET",
        "BININT", "BININT1", "BININT2", "BINFLOAT", "BINUNICODE", "SHORT_BINSTRING", "BINPERSID", "BINGET",
        "LONG_BINGET", "BINPUT", "LONG_BINPUT", "LONG1", "PROTO", "STOP",
    )
)  # fmt: skip


@dataclass(frozen=True)
class StoragePlan:
    """A storage that the pickle refers to: `numel` elements of `element_bytes` each, under `key`."""

    key: str
    kind: str
    numel: int

    @property
    def nbytes(self) -> int:
        """Bytes that the storage must have in the file."""
        return self.numel * _ELEMENT_BYTES[self.kind]


@dataclass(frozen=True)
class TensorPlan:
    """A tensor that the pickle would make; `problem` says why it can't be taken, `nbytes` is its size when dense."""

    nbytes: int
    problem: str | None = None


@dataclass
class PicklePlan:
    """The whole dry run: the object with `TensorPlan`s for tensors, the storages, and every tensor in order."""

    value: Any = None
    storages: dict[str, StoragePlan] = field(default_factory=dict)
    tensors: list[TensorPlan] = field(default_factory=list)


@dataclass(frozen=True)
class _Name:
    """Stands in for a global: never imported, only named."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


def plan_pickle(path: Path, stream: io.BytesIO | mmap.mmap) -> PicklePlan:
    """Dry-run the pickle at the stream's place, and leave the stream behind its end.

    Both kinds of stream never give or allocate more than is left, whatever length the pickle asks for.
    Raises `UnsafePickleError` where it needs more than tensors and plain containers, `NotACheckpointError` where it is
    malformed or a tensor reaches outside its storage.
    """
    start = stream.tell()
    _check_opcodes(path, stream)
    length = stream.tell() - start
    stream.seek(start)
    reader = _PlanUnpickler(io.BytesIO(stream.read(length)), encoding="utf-8")
    reader.path, reader.plan = path, PicklePlan()
    try:
        reader.plan.value = reader.load()
    except (UnsafePickleError, NotACheckpointError):
        raise
    except Exception as error:  # a malformed pickle can raise anything; nothing of it has run
        raise NotACheckpointError(f"{path}: its pickle is malformed ({type(error).__name__}); damaged?") from error
    return reader.plan


def _check_opcodes(path: Path, stream: io.BytesIO | mmap.mmap) -> None:
    """Read the pickle to its end without running it: its sizes fit the stream, its globals are admitted ones."""
    limit = stream.tell() + _LARGEST_PICKLE
    strange: str | None = None
    strings: list[str] = []  # for STACK_GLOBAL: the last two
    try:
        for opcode, argument, position in pickletools.genops(cast(IO[bytes], stream)):
            if opcode.name == "STOP":
                if strange is not None:
                    raise UnsafePickleError(
                        f"{path}: its pickle uses {strange}, which the safe reader doesn't take (saved with another "
                        "pickle protocol?); nothing was executed: re-save its state dict with torch.save's defaults"
                    )
                return
            if position is not None and position > limit:
                raise NotACheckpointError(
                    f"{path}: its pickle is larger than {_LARGEST_PICKLE >> 20} MiB without its tensors; "
                    "save the state dict alone"
                )
            if opcode.name in ("GLOBAL", "INST"):
                module, _, name = str(argument).partition(" ")
                _check_global(path, module, name)
            elif opcode.name == "STACK_GLOBAL" and len(strings) > 1:
                _check_global(path, *strings[-2:])
            elif isinstance(argument, str):
                strings = [*strings[-1:], argument]
            if opcode.name not in _OPCODES and strange is None:
                strange = f"the opcode {opcode.name}"
    except (ValueError, IndexError, OverflowError) as error:
        raise NotACheckpointError(f"{path}: its pickle is cut off or malformed; copy or download it again") from error
    raise NotACheckpointError(f"{path}: its pickle has no end; truncated? Copy or download it again")


def _check_global(path: Path, module: str, name: str) -> None:
    if not _is_admitted(module, name):
        raise UnsafePickleError(
            f"{path}: its pickle needs {module}.{name}, which is more than tensors; nothing was imported or executed. "
            "Re-save its state dict in the environment that wrote it, or pass --trust-pickle if you trust its author"
        )


def _is_admitted(module: str, name: str) -> bool:
    if module in ("torch", "torch.storage", "torch.cuda"):
        return name in _ELEMENT_BYTES or name in ("Size", "device", "Tensor") or _is_dtype(name)
    if module == "torch._utils":
        return name in _PLAIN_CALLS or name in _PARAMETER_CALLS or name in _UNSUPPORTED_CALLS
    return (module, name) in {
        ("collections", "OrderedDict"),
        ("collections", "Counter"),
        ("torch.nn.parameter", "Parameter"),
        ("torch._tensor", "_rebuild_from_type_v2"),
        ("torch.serialization", "_get_layout"),
        ("_codecs", "encode"),
        ("builtins", "bytearray"),
        ("builtins", "set"),
        ("builtins", "complex"),
        ("__builtin__", "bytearray"),
        ("__builtin__", "set"),
        ("__builtin__", "complex"),
    }


def _is_dtype(name: str) -> bool:
    import torch

    return isinstance(getattr(torch, name, None), torch.dtype | torch.qscheme)


class _PlanUnpickler(pickle._Unpickler):
    """The pure-Python reader (its memo is a dict: no index makes it huge) with calls and state reduced to notes."""

    path: Path
    plan: PicklePlan
    dispatch: ClassVar[dict[int, Any]] = dict(pickle._Unpickler.dispatch)
    stack: list[Any]

    def find_class(self, module_name: str, global_name: str) -> _Name:
        """Name the global; nothing is imported."""
        return _Name(module_name, global_name)

    def persistent_load(self, pid: Any) -> StoragePlan:
        """("storage", type, key, location, numel[, view]) -> a note of it."""
        if not isinstance(pid, tuple) or len(pid) < 5 or pid[0] not in ("storage", b"storage"):
            raise NotACheckpointError(f"{self.path}: its pickle refers to something that is no storage; damaged?")
        kind, key, numel = pid[1], str(pid[2]), pid[4]
        if not isinstance(kind, _Name) or kind.name not in _ELEMENT_BYTES or not _is_count(numel):
            raise NotACheckpointError(f"{self.path}: storage {key!r} has no valid type and size; damaged?")
        if len(pid) > 5 and pid[5] is not None:
            raise NotACheckpointError(
                f"{self.path}: storage {key!r} is a view of another, as torch before 0.4 saved them; re-save the file"
            )
        made = self.plan.storages.setdefault(key, StoragePlan(key, kind.name, numel))
        if made != StoragePlan(key, kind.name, numel):
            raise NotACheckpointError(f"{self.path}: storage {key!r} is declared with two sizes or types; damaged?")
        return made

    def load_reduce(self) -> None:
        """Call -> note."""
        arguments = self.stack.pop()
        self.stack[-1] = self._called(self.stack[-1], arguments)

    def load_newobj(self) -> None:
        """New object -> note."""
        arguments = self.stack.pop()
        self.stack[-1] = self._called(self.stack[-1], arguments)

    def load_build(self) -> None:
        """State is set on nothing; only ordered dicts (`_metadata`) and parameters bring any."""
        self.stack.pop()
        if not isinstance(self.stack[-1], OrderedDict | TensorPlan):
            raise NotACheckpointError(f"{self.path}: its pickle sets state on a {type(self.stack[-1]).__name__}")

    dispatch[pickle.REDUCE[0]] = load_reduce
    dispatch[pickle.NEWOBJ[0]] = load_newobj
    dispatch[pickle.BUILD[0]] = load_build

    def _called(self, function: Any, arguments: Any) -> Any:
        if not isinstance(function, _Name) or not isinstance(arguments, tuple):
            raise NotACheckpointError(f"{self.path}: its pickle calls something that is no function; damaged?")
        name = function.name
        if name in _PLAIN_CALLS:
            return self._noted(self._tensor(arguments, name))
        if name in _PARAMETER_CALLS or name == "Parameter":
            return arguments[0]
        if name in _UNSUPPORTED_CALLS:
            return self._noted(TensorPlan(0, _UNSUPPORTED_CALLS[name]))
        if name == "_rebuild_from_type_v2":
            return self._noted(TensorPlan(0, "subclass"))
        if name == "OrderedDict":
            return OrderedDict(*arguments)
        if name == "Counter":
            return Counter(*arguments)
        if name in ("Size", "set") and all(isinstance(argument, list | tuple) for argument in arguments):
            return tuple(*arguments) if name == "Size" else set(*arguments)
        if name in ("device", "_get_layout", "complex"):
            return f"{name}{arguments}"
        if name == "encode" and isinstance(arguments[0], str):
            return arguments[0].encode("latin1")
        if name == "bytearray" and all(isinstance(argument, bytes) for argument in arguments[:1]):
            return bytes(*arguments[:1])
        raise UnsafePickleError(
            f"{self.path}: its pickle calls {function} in a way that no state dict needs; nothing was executed. "
            "Re-save its state dict in the environment that wrote it"
        )

    def _noted(self, tensor: TensorPlan) -> TensorPlan:
        self.plan.tensors.append(tensor)
        return tensor

    def _tensor(self, arguments: tuple[Any, ...], call: str) -> TensorPlan:
        storage, offset, size, stride = arguments[:4]
        if not isinstance(storage, StoragePlan) or not _is_count(offset) or not _are_counts(size, stride):
            raise NotACheckpointError(f"{self.path}: a tensor without valid storage, size and strides; damaged?")
        if storage.kind.startswith("Q"):
            return TensorPlan(0, "quantized")
        if storage.kind.startswith("Complex"):
            return TensorPlan(0, "complex")
        element_bytes = _ELEMENT_BYTES[storage.kind]
        if call == "_rebuild_tensor_v3":
            element_bytes = _dtype_bytes(arguments[6]) if len(arguments) > 6 else 0
            if element_bytes == 0:
                return TensorPlan(0, "unknown-dtype")
        numel = math.prod(size)
        reach = offset + 1 + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
        if numel and reach * element_bytes > storage.nbytes:
            raise NotACheckpointError(
                f"{self.path}: a tensor of shape {tuple(size)} reaches beyond its storage {storage.key!r}; damaged?"
            )
        return TensorPlan(numel * element_bytes)


def _dtype_bytes(dtype: object) -> int:
    import torch

    found = getattr(torch, dtype.name, None) if isinstance(dtype, _Name) else None
    return found.itemsize if isinstance(found, torch.dtype) else 0


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 62


def _are_counts(size: object, stride: object) -> bool:
    return (
        isinstance(size, tuple)
        and isinstance(stride, tuple)
        and len(size) == len(stride) <= _LARGEST_RANK
        and all(_is_count(value) for value in (*size, *stride))
    )
