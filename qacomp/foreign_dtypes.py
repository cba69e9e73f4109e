"""Element types that neither numpy nor the container has: kept as the same bytes in a type that both have.

An 8-bit float is stored as uint8, a complex number as two floats along one more axis. The metadata of a container names
the tensors and their types (`dtypes`), and a reader gives them back. Needs no torch.
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
    "complex32": Foreign("float16", pairs=True),
    "complex64": Foreign("float32", pairs=True, safetensors="C64", numpy="complex64"),
    "complex128": Foreign("float64", pairs=True, numpy="complex128"),
}


def foreign_types(meta: Mapping[str, Any], stored: Mapping[str, tuple[str, tuple[int, ...]]]) -> dict[str, str]:
    """Tensor name -> its own type, of those that a container's metadata names and whose stored type and shape fit it.

    stored: name -> (type in the container, shape). What doesn't fit is left as it is stored.
    """
    told = meta.get(META_KEY)
    found = {}
    for name, dtype in told.items() if isinstance(told, dict) else ():
        kind = FOREIGN.get(dtype) if isinstance(dtype, str) else None
        if kind is None or name not in stored:
            continue
        given, shape = stored[name]
        if given == kind.stored and (not kind.pairs or shape[-1:] == (2,)):
            found[name] = dtype
    return found


def as_numpy(array: NDArray[Any], dtype: str) -> NDArray[Any]:
    """A stored array in its own type where numpy has it; else as it is stored."""
    kind = FOREIGN[dtype]
    if kind.numpy is None:
        return array
    whole: NDArray[Any] = np.ascontiguousarray(array).view(kind.numpy)[..., 0]
    return whole
