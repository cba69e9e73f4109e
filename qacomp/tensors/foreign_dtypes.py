"""Element types that neither numpy nor the container has: kept as the same bytes in a type that both have.

An 8-bit float is stored as uint8, a complex number as two floats along one more axis, a quantized tensor as its whole
numbers. The metadata of a container names the tensors and their types (`dtypes`), and a reader gives them back. Needs
no torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

META_KEY = "dtypes"


@dataclass(frozen=True)
class Foreign:
    """stored: the numpy type in the container. pairs: whether the last axis holds real and imaginary parts.

    safetensors: its code there, None where that format lacks it. numpy: the type that an array can have, if any.
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
    """Numbers of `dtype` that stand for (number − zero_point) · scale: one of each, or one for each slice of `axis`."""

    dtype: str
    scale: list[float]
    zero_point: list[int]
    axis: int | None

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Return whether there are as many scales as a tensor of that shape needs, and all of them numbers."""
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
    """Return the type's name, a key of FOREIGN."""
    return meant if isinstance(meant, str) else meant.dtype


def foreign_types(meta: Mapping[str, Any], stored: Mapping[str, tuple[str, tuple[int, ...]]]) -> dict[str, Meant]:
    """Map tensor names to their own types, where the metadata name one that the stored type and shape fit.

    stored: name -> (type in the container, shape). What doesn't fit is left as it is stored.
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
    """Return a type as the metadata tells it, None for what is none."""
    if isinstance(entry, str):
        return entry
    if not isinstance(entry, dict) or set(entry) != {"dtype", "scale", "zero_point", "axis"}:
        return None
    lists = isinstance(entry["scale"], list) and isinstance(entry["zero_point"], list)
    return QuantizedType(**entry) if lists and isinstance(entry["dtype"], str) else None


def as_numpy(array: NDArray[Any], dtype: Meant) -> NDArray[Any]:
    """Return a stored array in its own type where numpy has it; else as it is stored."""
    kind = FOREIGN[type_name(dtype)]
    if kind.numpy is None:
        return array
    whole: NDArray[Any] = np.ascontiguousarray(array).view(kind.numpy)[..., 0]
    return whole
