"""Read CIFAR's two kinds of files: pickled batches, without running any of their code, and flat binary records."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qacomp.datasets.split import Split
from qacomp.errors import DataError
from qacomp.formats.regular import read_small
from qacomp.pickles import Name, PickleReader

_LARGEST = 1 << 30  # bytes; the largest published file has 154 million
_SIDE = 32
_PIXELS = 3 * _SIDE * _SIDE
_ADMITTED = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
    ("builtins", "bytearray"),
    *((f"numpy.{core}.multiarray", "_reconstruct") for core in ("core", "_core")),
    *((f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")),
}


def read_binary(path: Path, label_bytes: int) -> Split:
    """Read records of `label_bytes` labels, of which the last counts, and 3,072 bytes of pixels, channel by channel."""
    values = np.frombuffer(read_small(path, _LARGEST), dtype=np.uint8)
    record = label_bytes + _PIXELS
    if values.size == 0 or values.size % record:
        raise DataError(
            f"{path}: {values.size} bytes aren't a multiple of {record}-byte records; the file may be truncated"
        )
    records = values.reshape(-1, record)
    return Split(_images(records[:, label_bytes:]), records[:, label_bytes - 1].astype(np.int64))


def read_pickled(path: Path, label_key: bytes) -> Split:
    """Read a published Python batch: a dict with `data`, (N, 3072) uint8, and a list of labels under `label_key`."""
    batch = _BatchReader(path, read_small(path, _LARGEST)).load()
    if not isinstance(batch, dict):
        raise DataError(f"{path}: not a CIFAR batch: its pickle holds a {type(batch).__name__}, not a dict")
    named = {key.encode("utf-8", "replace") if isinstance(key, str) else key: value for key, value in batch.items()}
    if missing := [key.decode() for key in (b"data", label_key) if key not in named]:
        raise DataError(f"{path}: not a CIFAR batch: it lacks {', '.join(missing)}")
    data = _array(named[b"data"])
    if data is None or data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != _PIXELS:
        raise DataError(f"{path}: not a CIFAR batch: its data must be (N, {_PIXELS}) uint8")
    labels = _array(named[label_key])
    if labels is None or labels.ndim != 1:
        raise DataError(f"{path}: not a CIFAR batch: {label_key.decode()} must be a list of class numbers")
    return Split(_images(data), labels)


def _images(flat: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Turn rows (N, 3072), channel by channel, into images (N, 32, 32, 3)."""
    return np.ascontiguousarray(flat.reshape(-1, 3, _SIDE, _SIDE).transpose(0, 2, 3, 1))


@dataclass(slots=True, eq=False)
class _StoredType:
    """Stands for a pickled numpy.dtype and keeps its code, so that no pickle can make numpy build object arrays."""

    code: str
    order: str = "<"

    def restore(self, state: Sequence[Any]) -> None:
        """Take the byte order from a pickled state."""
        self.order = ">" if state[1] in (b">", ">") else "<"

    def dtype(self) -> np.dtype[Any]:
        """Return the dtype, an integer type. Raises DataError for a type that no CIFAR batch holds."""
        if self.code not in ("u1", "i1", "i2", "i4", "i8"):
            raise DataError(f"an array of type {self.code[:20]!r} isn't allowed in a CIFAR batch")
        return np.dtype(self.order + self.code)


@dataclass(slots=True, eq=False)
class _StoredArray:
    """Stands for a pickled numpy.ndarray: keeps shape, type and bytes; `array` makes the array if they agree."""

    shape: tuple[Any, ...] = ()
    stored_type: _StoredType = field(default_factory=lambda: _StoredType("u1"))
    values: bytes = b""
    fortran: bool = False

    def restore(self, state: Sequence[Any]) -> bool:
        """Take shape, type, order and bytes from a pickled state; return False for other kinds of arrays."""
        _, shape, stored_type, fortran, values = state
        if not isinstance(stored_type, _StoredType) or not isinstance(values, bytes):
            return False
        self.shape, self.stored_type, self.fortran, self.values = shape, stored_type, bool(fortran), values
        return True

    def array(self) -> NDArray[Any]:
        """Return the array. Raises ValueError if shape and bytes disagree, DataError for a type that isn't allowed."""
        flat = np.frombuffer(self.values, dtype=self.stored_type.dtype())
        if not all(type(side) is int for side in self.shape) or len(self.shape) > 2:
            raise ValueError("not the shape of a batch")
        return flat.reshape(self.shape, order="F" if self.fortran else "C")


class _BatchReader(PickleReader):
    """A reader of pickles that admits arrays, bytes, text, numbers, lists and dicts only."""

    text_strings = False

    def find(self, module: str, name: str) -> Name:
        """Return the name of an admitted function of numpy or Python. Raise DataError for any other."""
        if (module, name) not in _ADMITTED:
            raise DataError(
                f"{self.where}: its pickle asks for {Name(module, name)}, which no CIFAR batch needs; the file isn't "
                "loaded"
            )
        return Name(module, name)

    def call(self, function: Any, arguments: tuple[Any, ...]) -> Any:
        """Return the result of an admitted function: an array, an array's type, or bytes as protocol 2 stores them."""
        name = function.name if isinstance(function, Name) else ""
        if name == "dtype":
            code = arguments[0]
            return _StoredType(code.decode("latin1") if isinstance(code, bytes) else str(code)[:20])
        if name == "encode" and isinstance(arguments[0], str):
            self.charge(len(arguments[0]))
            return arguments[0].encode("latin1")
        if name == "bytearray" and all(isinstance(argument, bytes) for argument in arguments[:1]):
            return arguments[0] if arguments else b""
        made = _StoredArray()
        if name == "_frombuffer":
            values, stored_type, shape, order = arguments
            self.build(made, (1, shape, stored_type, order == "F", values))
        return made

    def build(self, instance: Any, state: Any) -> None:
        """Set the state of an array or of its type. Any other object has no state and raises DataError."""
        if isinstance(instance, _StoredType):
            instance.restore(state)
        elif isinstance(instance, _StoredArray):
            version, shape, *others = state
            if not instance.restore((version, tuple(self.copied(shape)), *others)):
                raise DataError(f"{self.where}: an array of this kind isn't allowed in a CIFAR batch")
        else:
            super().build(instance, state)

    def damaged(self, reason: str) -> DataError:
        """Return the error for a damaged file."""
        return DataError(f"{self.where}: not a readable CIFAR batch: {reason}")

    def strange(self, code: int) -> DataError:
        """Return the error for a pickle with an opcode that no batch needs."""
        return self.damaged(f"its pickle has the opcode {code:#x}, which no batch needs; the file may be truncated")


def _array(value: object) -> NDArray[Any] | None:
    """Return a stored array, or a flat list of integers, as an array; None for anything else."""
    if isinstance(value, _StoredArray):
        try:
            return value.array()
        except ValueError:
            return None
    if isinstance(value, list) and all(type(entry) is int and abs(entry) < 1 << 31 for entry in value):
        return np.array(value, np.int64)
    return None
