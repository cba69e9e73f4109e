"""Put a tensor on the coarsest grid whose error is small enough; nothing but its own values is known.

A type of 16 bits has 65,536 values at most, so each of them is worked on once, with the number of its weights. Wider
ones are worked on in parts, since a large model has tensors of a gigabyte, and double precision takes more.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qacomp.formats import BFLOAT16, SharedTensor, bfloat16_to_float32
from qacomp.formats.encoding import index_counts
from qacomp.rate.compensation import rounded
from qacomp.rate.grid_form import MOST_VALUES
from qacomp.sharing.share import Packed, in_own_dtype, unfit

_NARROWER = 0.99  # factor beyond what the measured error asks for, so that few trials are enough
_MOST_TRIALS = 12
_PART = 1 << 22  # values that are worked on at once: 32 MiB in double precision


@dataclass(frozen=True)
class _Values:
    """Values in double precision, (n,), and how many weights have each of them, (n,); None for one each."""

    values: NDArray[np.float64]
    times: NDArray[np.int64] | None = None

    def total(self, amounts: NDArray[np.float64]) -> float:
        """Sum amounts (n,) over the weights."""
        return float((amounts if self.times is None else amounts * self.times).sum())


def on_grid_within(array: NDArray[Any], error: float, precision: str) -> Packed | str:
    """Return the tensor on a uniform grid with Σ|w − ŵ|² ≤ error · Σ|w|², or the text why it can't be put on one.

    precision: of the codebook in the file. If the finest grid isn't fine enough, the tensor is on that one.
    """
    patterns = _patterns(array) if array.dtype.itemsize == 2 else None
    for values in [array] if array.dtype == np.float64 else _pieces(array if patterns is None else patterns[0]):
        if (why := unfit(_floats(values))) is not None:
            return why
    size = sum(part.total(part.values**2) for part in _parts(array, patterns))
    largest = max((float(np.abs(part.values).max(initial=0.0)) for part in _parts(array, patterns)), default=0.0)
    finest = 2 * largest / (MOST_VALUES - 2) or 1.0
    step = max(finest, float(np.sqrt(12 * error * size / max(1, array.size))))  # a uniform error of step² / 12
    for _ in range(_MOST_TRIALS):
        found = sum(
            part.total((part.values - rounded(part.values, step) * step) ** 2) for part in _parts(array, patterns)
        )
        if found <= error * size or step == finest:
            break
        step = max(finest, _NARROWER * step * float(np.sqrt(error * size / found)))
    return in_own_dtype(_on_grid(array, patterns, step), array.dtype, precision)


_Patterns = tuple[NDArray[Any], NDArray[np.int64]]
"""The different values of a type of 16 bits, in the order of their bits, and how many weights have each."""


def _patterns(array: NDArray[Any]) -> _Patterns:
    counts = index_counts(_bits(array), 1 << 16)
    used = np.flatnonzero(counts)
    return used.astype(np.uint16).view(array.dtype), counts[used]


def _on_grid(array: NDArray[Any], patterns: _Patterns | None, step: float) -> SharedTensor:
    """Return the array rounded to multiples of `step`, with a codebook of those that occur, in ascending order."""
    counts = np.zeros(2 * MOST_VALUES, np.int64)  # by integer; those of the finest grid are below MOST_VALUES / 2
    for part in _parts(array, patterns):
        integers = rounded(part.values, step) + MOST_VALUES
        if part.times is None:
            counts += np.bincount(integers, minlength=counts.size)
        else:
            np.add.at(counts, integers, part.times)
    used = np.flatnonzero(counts)
    dtype = np.uint8 if used.size <= 256 else np.uint16
    numbers = (np.cumsum(counts > 0) - 1).astype(dtype)
    indices = np.empty(array.size, dtype)
    if patterns is None:
        for place, part in enumerate(_parts(array, patterns)):
            indices[place * _PART : place * _PART + part.values.size] = numbers[
                rounded(part.values, step) + MOST_VALUES
            ]
    else:
        of_bits = np.zeros(1 << 16, dtype)
        (part,) = _parts(array, patterns)
        of_bits[_bits(patterns[0])] = numbers[rounded(part.values, step) + MOST_VALUES]
        for place, piece in enumerate(_pieces(_bits(array))):
            of_bits.take(piece, out=indices[place * _PART : place * _PART + piece.size], mode="clip")
    return SharedTensor((used - MOST_VALUES) * step, indices.reshape(array.shape))


def _bits(array: NDArray[Any]) -> NDArray[np.uint16]:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint16)


def _pieces(array: NDArray[Any]) -> Iterator[NDArray[Any]]:
    flat = array.reshape(-1)
    return (flat[start : start + _PART] for start in range(0, flat.size, _PART))


def _parts(array: NDArray[Any], patterns: _Patterns | None) -> Iterator[_Values]:
    if patterns is None:
        return (_Values(_floats(piece).astype(np.float64)) for piece in _pieces(array))
    return iter([_Values(_floats(patterns[0]).astype(np.float64), patterns[1])])


def _floats(array: NDArray[Any]) -> NDArray[Any]:
    return bfloat16_to_float32(array) if array.dtype == BFLOAT16 else array
