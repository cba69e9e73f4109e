"""CIFAR's two file kinds: pickled batches, read without running anything of theirs, and flat binary records."""

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qacomp.datasets.split import Split
from qacomp.errors import DataError

_SIDE = 32
_PIXELS = 3 * _SIDE * _SIDE


def read_binary(path: Path, label_bytes: int) -> Split:
    """Records of `label_bytes` labels (the last counts) and 3,072 bytes of pixels, channel by channel."""
    values = np.frombuffer(path.read_bytes(), dtype=np.uint8)
    record = label_bytes + _PIXELS
    if values.size == 0 or values.size % record:
        raise DataError(f"{path}: {values.size} bytes are no whole number of {record}-byte records; truncated?")
    records = values.reshape(-1, record)
    return Split(_images(records[:, label_bytes:]), records[:, label_bytes - 1].astype(np.int64))


def read_pickled(path: Path, label_key: bytes) -> Split:
    """A published python batch: a dict with `data` (N, 3072) uint8 and labels under `label_key`."""
    try:
        batch = _BatchUnpickler(io.BytesIO(path.read_bytes()), encoding="bytes").load()
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    except Exception as error:  # a malformed pickle can raise anything; nothing of it has run
        raise DataError(f"{path}: no readable CIFAR batch ({type(error).__name__}); truncated?") from error
    if not isinstance(batch, dict):
        raise DataError(f"{path}: no CIFAR batch: holds a {type(batch).__name__}, not a dict")
    named = {key.encode() if isinstance(key, str) else key: value for key, value in batch.items()}
    if missing := [key.decode() for key in (b"data", label_key) if key not in named]:
        raise DataError(f"{path}: no CIFAR batch: lacks {', '.join(missing)}")
    data = _array(named[b"data"])
    if data is None or data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != _PIXELS:
        raise DataError(f"{path}: data must be (N, {_PIXELS}) uint8")
    labels = _array(named[label_key])
    if labels is None or labels.ndim != 1:
        raise DataError(f"{path}: {label_key.decode()} must be a list of class numbers")
    return Split(_images(data), labels)


def _images(flat: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(N, 3072) channel by channel -> (N, 32, 32, 3)."""
    return np.ascontiguousarray(flat.reshape(-1, 3, _SIDE, _SIDE).transpose(0, 2, 3, 1))


class _StoredType:
    """Stands in for numpy.dtype: keeps the code, so that no pickle can ask numpy for object arrays."""

    def __init__(self, code: object = "", *_: object) -> None:
        self.code = code.decode("latin1") if isinstance(code, bytes) else str(code)
        self.order = "<"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        order = state[1].decode("latin1") if isinstance(state[1], bytes) else str(state[1])
        self.order = ">" if order == ">" else "<"

    def dtype(self) -> np.dtype[Any]:
        if self.code not in ("u1", "i1", "i2", "i4", "i8"):
            raise DataError(f"an array of type {self.code!r} has no place in a CIFAR batch")
        return np.dtype(self.order + self.code)


class _StoredArray:
    """Stands in for numpy.ndarray: keeps shape, type and bytes, and makes the array only once they agree."""

    shape: tuple[int, ...] = ()
    stored_type: _StoredType = _StoredType("u1")
    values: bytes = b""
    fortran: bool = False

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, stored_type, fortran, values = state
        if not isinstance(stored_type, _StoredType) or not isinstance(values, bytes | bytearray):
            raise DataError("an array of this kind has no place in a CIFAR batch")
        self.shape, self.stored_type, self.fortran, self.values = (
            tuple(shape),
            stored_type,
            bool(fortran),
            bytes(values),
        )

    def array(self) -> NDArray[Any]:
        flat = np.frombuffer(self.values, dtype=self.stored_type.dtype())
        return flat.reshape(self.shape, order="F" if self.fortran else "C")


def _reconstruct(*_: object) -> _StoredArray:
    return _StoredArray()


def _from_buffer(values: bytes, stored_type: _StoredType, shape: tuple[int, ...], order: str) -> _StoredArray:
    made = _StoredArray()
    made.__setstate__((1, shape, stored_type, order == "F", values))
    return made


def _latin1(text: str, encoding: object = "latin1") -> bytes:
    """How protocol 2 stores bytes."""
    return text.encode("latin1")


_ADMITTED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _StoredArray,
    ("numpy", "dtype"): _StoredType,
    ("_codecs", "encode"): _latin1,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _reconstruct for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _from_buffer for core in ("core", "_core")},
}


class _BatchUnpickler(pickle._Unpickler):
    """Admits arrays, bytes, text, numbers, lists and dicts; the pure-Python reader, whose memo can't be made huge."""

    def find_class(self, module_name: str, global_name: str) -> Any:
        """Give the stand-in of an admitted name; refuse every other without importing it."""
        if (module_name, global_name) not in _ADMITTED:
            raise DataError(f"its pickle asks for {module_name}.{global_name}, which no CIFAR batch needs; not loaded")
        return _ADMITTED[module_name, global_name]


def _array(value: object) -> NDArray[Any] | None:
    try:
        return value.array() if isinstance(value, _StoredArray) else np.array(value)
    except (ValueError, TypeError):
        return None
