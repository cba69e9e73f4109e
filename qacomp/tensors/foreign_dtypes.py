"""Store element types that the container lacks: the same bytes in a type that it has, and the name of the real type.

An 8-bit float is stored as uint8, a complex number as two floats along one more axis, a quantized tensor as its
integers. The metadata of a container names the tensors and their real types (`dtypes`), and a reader restores them.
Doesn't need torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

META_KEY = "dtypes"


@dataclass(frozen=True)
class Foreign:
    """How a type is stored. stored: numpy type in the container; pairs: the last axis holds real and imaginary part.

    safetensors: code of the type in safetensors files, None if that format lacks it; numpy: the numpy type, if any.
    """

    stored: str
    pairs: bool = False
    safetensors: str | None = None
    numpy: str | None = None


FOREIGN = {
    "float8_e4m3fn": Foreign("uint8", safetensors="F8_E4M3"),
    "float8_e5m2": Foreign("uint8", safetensors="F8_E5M2"),
    "float8_e4m3fnuz": Foreign("uint8", safetensors="F8_E4M3FNUZ"),
    "float8_e5m2fnuz": Foreign("uint8", safetensors="F8_E5M2FNUZ"),
    "float8_e8m0fnu": Foreign("uint8"),
    "float4_e2m1fn_x2": Foreign("uint8"),
    "qint8": Foreign("int8"),
    "quint8": Foreign("uint8"),
    "qint32": Foreign("int32"),
    "complex32": Foreign("float16", pairs=True),
    "complex64": Foreign("float32", pairs=True, safetensors="C64", numpy="complex64"),
    "complex128": Foreign("float64", pairs=True, numpy="complex128"),
}


@dataclass(frozen=True)
class QuantizedType:
    """A quantized type: integers q of `dtype` with the values (q − zero_point) · scale.

    scale, zero_point: one entry, or one for each index of `axis`.
    """

    dtype: str
    scale: list[float]
    zero_point: list[int]
    axis: int | None

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Return whether scales and zero points are numbers, and as many as a tensor of this shape needs."""
        count = 1
        if self.axis is not None:
            if type(self.axis) is not int or not 0 <= self.axis < len(shape):
                return False
            count = shape[self.axis]
        plain = all(type(part) is float for part in self.scale) and all(
            type(part) is int and abs(part) < 1 << 31 for part in self.zero_point
        )
        return plain and len(self.scale) == len(self.zero_point) == count


Meant = str | QuantizedType


def type_name(meant: Meant) -> str:
    """Return the name of a type; a known one is a key of FOREIGN."""
    return meant if isinstance(meant, str) else meant.dtype


def foreign_types(meta: Mapping[str, Any], stored: Mapping[str, tuple[str, tuple[int, ...]]]) -> dict[str, Meant]:
    """Map tensor names to the types that the metadata gives them, if the stored type and shape fit.

    stored: name -> (type in the container, shape). A tensor whose entry doesn't fit is left out, so it stays as stored.
    """
    told = meta.get(META_KEY)
    found: dict[str, Meant] = {}
    for name, entry in told.items() if isinstance(told, dict) else ():
        meant = _meant(entry)
        kind = None if meant is None else FOREIGN.get(type_name(meant))
        if meant is None or kind is None or name not in stored:
            continue
        given, shape = stored[name]
        whole = isinstance(meant, str) != type_name(meant).startswith("q") and (
            isinstance(meant, str) or meant.fits(shape)
        )
        if whole and given == kind.stored and (not kind.pairs or shape[-1:] == (2,)):
            found[name] = meant
    return found


def _meant(entry: Any) -> Meant | None:
    """Return the type that an entry of the metadata describes; None for a malformed entry."""
    if isinstance(entry, str):
        return entry
    if not isinstance(entry, dict) or set(entry) != {"dtype", "scale", "zero_point", "axis"}:
        return None
    lists = isinstance(entry["scale"], list) and isinstance(entry["zero_point"], list)
    return QuantizedType(**entry) if lists and isinstance(entry["dtype"], str) else None


def as_numpy(array: NDArray[Any], dtype: Meant) -> NDArray[Any]:
    """Return a stored array in its real type if numpy has that type, else unchanged."""
    kind = FOREIGN[type_name(dtype)]
    if kind.numpy is None:
        return array
    whole: NDArray[Any] = np.ascontiguousarray(array).view(kind.numpy)[..., 0]
    return whole
