"""Read .safetensors files one tensor at a time, straight into arrays, bfloat16 and 8-bit floats too.

The library safetensors maps a whole file, and gives no numpy arrays of these types. The rules of its format are checked
here: a tensor for every byte, without gaps and overlaps.
"""

import json
import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from qacomp.errors import NotACheckpointError
from qacomp.formats import BFLOAT16
from qacomp.formats.limits import MAX_DIMS
from qacomp.formats.regular import open_regular
from qacomp.formats.system_errors import advice, words
from qacomp.tensors.foreign_dtypes import FOREIGN

_LARGEST_HEADER = 100_000_000  # bytes, the limit of the library
_RESERVED = "__metadata__"
CODES = {
    "BOOL": np.dtype("?"), "U8": np.dtype("u1"), "I8": np.dtype("i1"), "U16": np.dtype("<u2"), "I16": np.dtype("<i2"),
    "U32": np.dtype("<u4"), "I32": np.dtype("<i4"), "U64": np.dtype("<u8"), "I64": np.dtype("<i8"),
    "F16": np.dtype("<f2"), "BF16": BFLOAT16, "F32": np.dtype("<f4"), "F64": np.dtype("<f8"),
}  # fmt: skip
_FOREIGN_CODES = {kind.safetensors: name for name, kind in FOREIGN.items() if kind.safetensors is not None}
Opener = Callable[[Path], AbstractContextManager[BinaryIO]]


@dataclass(frozen=True)
class Place:
    """A tensor in a file. dtype, sizes: of the array that a container stores; start, end: of its bytes in the file.

    foreign: the name of its type if the container lacks it (see `qacomp.tensors.foreign_dtypes`), else None.
    """

    dtype: np.dtype[Any]
    sizes: tuple[int, ...]
    start: int
    end: int
    foreign: str | None = None

    @property
    def floating(self) -> bool:
        """Return whether its values are floating-point numbers of 16 bits or more."""
        return self.foreign is None and (self.dtype == BFLOAT16 or self.dtype.kind == "f")


@dataclass(frozen=True)
class WeightsFile:
    """A .safetensors file. tensors: place of each by name, in the order of their bytes; metadata: its names and texts.

    size: bytes of the file; opener: opens it for reading.
    """

    path: Path
    size: int
    tensors: Mapping[str, Place]
    metadata: Mapping[str, str]
    opener: Opener = open_regular

    def read(self, name: str) -> NDArray[Any]:
        """Return a tensor. Raises NotACheckpointError if the file can't be read, or was cut off in the meantime."""
        place = self.tensors[name]
        data = bytearray(place.end - place.start)
        try:
            with self.opener(self.path) as file:
                file.seek(place.start)
                filled = _fill(file, memoryview(data))
        except OSError as error:
            raise NotACheckpointError(f"{self.path}: can't be read ({words(error)}); {advice(error)}") from error
        if filled < len(data):
            raise NotACheckpointError(f"{self.path}: ends inside the tensor {name[:80]}; did the file change?")
        array: NDArray[Any] = np.frombuffer(data, place.dtype).reshape(place.sizes)
        if place.dtype == np.bool_ and bool((array.view(np.uint8) > 1).any()):
            raise NotACheckpointError(
                f"{self.path}: the tensor {name[:80]} has a truth value that is neither 0 nor 1; damaged?"
            )
        return array

    @cached_property
    def foreign(self) -> dict[str, str]:
        """Return the types that the container lacks, by the tensors' names."""
        return {name: place.foreign for name, place in self.tensors.items() if place.foreign is not None}


def read_weights_file(path: Path, opener: Opener = open_regular) -> WeightsFile:
    """Read the header of a .safetensors file. Raises NotACheckpointError for a file that the format doesn't allow."""
    try:
        with opener(path) as file:
            size = file.seek(0, 2)
            file.seek(0)
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > min(size - 8, _LARGEST_HEADER):
                raise _damaged(path, "its header is longer than the file; truncated?")
            text = file.read(length)
    except OSError as error:
        raise NotACheckpointError(f"{path}: can't be read ({words(error)}); {advice(error)}") from error
    try:
        header: Any = json.loads(text.decode(), object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, f"its header isn't JSON ({' '.join(str(error).split())[:80]})") from error
    if not isinstance(header, dict):
        raise _damaged(path, "its header isn't a JSON object")
    metadata = header.pop(_RESERVED, None) or {}
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _damaged(path, "its metadata aren't texts")
    places = {name: _place(path, name, entry, 8 + length) for name, entry in header.items()}
    ordered = dict(sorted(places.items(), key=lambda item: (item[1].start, item[1].end)))
    end = 8 + length
    for name, place in ordered.items():
        if place.start != end:
            raise _damaged(path, f"the tensor {name[:80]!r} doesn't begin where the one before ends")
        end = place.end
    if end != size:
        raise _damaged(path, f"its tensors end at byte {end} of {size}; truncated?")
    return WeightsFile(path, size, ordered, metadata, opener)


def _place(path: Path, name: str, entry: Any, start: int) -> Place:
    what = f"the tensor {name[:80]!r}"
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise _damaged(path, f"{what} has no dtype, shape and data_offsets")
    code, sizes, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(code, str) or not (code in CODES or code in _FOREIGN_CODES):
        raise NotACheckpointError(
            f"{path}: {what} has the type {str(code)[:40]!r}, which a container can't hold; convert it to another type"
        )
    whole = all(isinstance(part, list) and all(type(n) is int and 0 <= n < 1 << 48 for n in part)
                for part in (sizes, offsets))  # fmt: skip
    if not whole or len(offsets) != 2 or len(sizes) >= MAX_DIMS:
        raise _damaged(path, f"{what} has a shape or offsets that aren't lists of sizes")
    foreign = _FOREIGN_CODES.get(code)
    dtype, axes = CODES.get(code), tuple(sizes)
    if dtype is None:
        kind = FOREIGN[_FOREIGN_CODES[code]]
        dtype, axes = np.dtype(kind.stored).newbyteorder("<"), (*axes, 2) if kind.pairs else axes
    if offsets[1] - offsets[0] != math.prod(axes) * dtype.itemsize:
        raise _damaged(path, f"{what} has {offsets[1] - offsets[0]} bytes, which its shape and type don't need")
    return Place(dtype, axes, start + offsets[0], start + offsets[1], foreign)


def _fill(file: BinaryIO, data: memoryview) -> int:
    """Read into `data` until it is full or the file ends, and return the number of bytes."""
    filled = 0
    while filled < len(data):
        part = file.read(min(len(data) - filled, 1 << 26))
        if not part:
            break
        data[filled : filled + len(part)] = part
        filled += len(part)
    return filled


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is repeated")
    return found


def _damaged(path: Path, what: str) -> NotACheckpointError:
    return NotACheckpointError(f"{path}: can't be read as safetensors: {what}; copy or download it again")
