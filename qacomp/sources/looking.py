"""Look at a tensor's values once: whether they show a constant, and how many aren't finite."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qacomp.formats import BFLOAT16, bfloat16_to_float32
from qacomp.tensors.constants import constant_kind, constant_name

_PART = 1 << 22  # values that are looked at at once


@dataclass(frozen=True)
class Looked:
    """What the values of a tensor show. constant: what kind of constant it is, in words, None for a weight.

    not_finite: the number of values that are NaN or infinite; by_name: whether the name alone tells that it is one.
    """

    constant: str | None
    not_finite: int
    by_name: bool = False


def look_at(name: str, array: NDArray[Any]) -> Looked:
    """Return whether a float tensor's values or name show a constant, and how many values aren't finite."""
    bad, flat = 0, array.reshape(-1)
    for start in range(0, flat.size, _PART):
        part = flat[start : start + _PART]
        values = bfloat16_to_float32(part) if part.dtype == BFLOAT16 else part
        bad += int(values.size - np.count_nonzero(np.isfinite(values)))
    if found := constant_kind(array):
        return Looked(f"by its values {found}", bad)
    found = constant_name(name, array)
    return Looked(f"{found} by its name" if found else None, bad, found is not None)
