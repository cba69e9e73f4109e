"""Write .safetensors files with one tensor in memory at a time, and with bfloat16, which numpy lacks."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qacomp.errors import ExportError
from qacomp.formats import BFLOAT16
from qacomp.formats.atomic import atomic_file
from qacomp.formats.checksums import crc32

_CODES = {
    np.dtype("?"): "BOOL", np.dtype("u1"): "U8", np.dtype("i1"): "I8", np.dtype("<u2"): "U16", np.dtype("<i2"): "I16",
    np.dtype("<u4"): "U32", np.dtype("<i4"): "I32", np.dtype("<u8"): "U64", np.dtype("<i8"): "I64",
    np.dtype("<f2"): "F16", BFLOAT16: "BF16", np.dtype("<f4"): "F32", np.dtype("<f8"): "F64",
}  # fmt: skip


_RESERVED = "__metadata__"


@dataclass(frozen=True)
class Shape:
    """A tensor in the header. dtype, sizes: of the array that is written (little-endian, or BFLOAT16).

    code: name of the real type if the array only holds its bytes, else None; pairs: the last axis is part of that type.
    """

    dtype: np.dtype[Any]
    sizes: tuple[int, ...]
    code: str | None = None
    pairs: bool = False

    @property
    def nbytes(self) -> int:
        """Return the bytes of the values."""
        return math.prod(self.sizes) * self.dtype.itemsize


def write_safetensors(
    output: Path,
    shapes: Mapping[str, Shape],
    values: Callable[[str], NDArray[Any]],
    metadata: Mapping[str, str] | None = None,
    *,
    ordered: bool = False,
) -> dict[str, int]:
    """Write tensors with these names, dtypes and shapes; values: returns the array of a name, called once for each.

    Returns the CRC-32 of each tensor's bytes. Wide types come first, so that all tensors are aligned; ordered: in the
    order of `shapes` instead. Raises ExportError for a reserved name and for an array with
    another dtype or shape, and OutputNotWritableError; then no file is left behind.
    """
    order = list(shapes) if ordered else sorted(shapes, key=lambda name: -shapes[name].dtype.itemsize)
    sums: dict[str, int] = {}
    with atomic_file(output) as file:
        file.write(_header(output, shapes, order, metadata)[0])
        for name in order:
            array, shape = values(name), shapes[name]
            if array.dtype != shape.dtype or array.shape != shape.sizes:
                raise ExportError(f"{name[:80]}: is {array.dtype}{list(array.shape)}, but the header says {shape}")
            data = np.asarray(array, order="C").tobytes()
            sums[name] = crc32(data)
            file.write(data)
    return sums


def write_empty(output: Path, shapes: Mapping[str, Shape], metadata: Mapping[str, str]) -> dict[str, int]:
    """Write a header and as many zeros as all tensors take; return the offset of each, in the order of `shapes`.

    Raises as `write_safetensors`.
    """
    text, places = _header(output, shapes, list(shapes), metadata)
    with atomic_file(output, durable=False) as file:
        file.write(text)
        file.truncate(len(text) + sum(shape.nbytes for shape in shapes.values()))
    return places


def _header(
    output: Path, shapes: Mapping[str, Shape], order: Sequence[str], metadata: Mapping[str, str] | None
) -> tuple[bytes, dict[str, int]]:
    """Return the bytes before the tensors, and the offset of each tensor in the file."""
    if _RESERVED in shapes:
        raise ExportError(
            f"{output}: a tensor is named {_RESERVED}, which .safetensors reserves; decode to .onnx, or "
            "from Python with qacomp.decode(..., to='torch')"
        )
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    place, places = 0, {}
    for name in order:
        shape, end = shapes[name], place + shapes[name].nbytes
        code, sizes = shape.code or _CODES[shape.dtype], shape.sizes[:-1] if shape.pairs else shape.sizes
        header[name] = {"dtype": code, "shape": list(sizes), "data_offsets": [place, end]}
        places[name], place = place, end
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    text = len(text).to_bytes(8, "little") + text
    return text, {name: len(text) + place for name, place in places.items()}
