"""Find slices of a tensor that repeat others up to signs, such as mirrored filters and bases of transforms.

Along each axis in turn only distinct slices are kept. A slice is restored as a kept one times a pattern of signs, and a
tensor needs few patterns: the 258 × 256 basis of a windowed Fourier transform becomes 130 × 129.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qacomp.exporting.onnx_forms.node_builder import NodeBuilder

_LEAST_SLICES = 4
_MOST_PATTERNS = 8
_WORTH_WHILE = 0.75  # largest fraction of distinct slices for which it is done


@dataclass(frozen=True)
class Repeat:
    """The repeats along one axis: slice i is slice place[i] of the smaller tensor times sign pattern pattern[i].

    place: uint16; pattern: uint8; signs: int8 −1 or 1, in the smaller tensor's shape with the patterns along `axis`.
    """

    axis: int
    place: NDArray[np.uint16]
    pattern: NDArray[np.uint8]
    signs: NDArray[np.int8]

    @property
    def bytes(self) -> int:
        """Return the bytes of the constants that restore the slices."""
        return self.place.nbytes + self.pattern.nbytes + self.signs.nbytes


def find_repeats(values: NDArray[np.float32]) -> tuple[list[Repeat], tuple[NDArray[np.intp], ...]]:
    """Return the repeats in `values`, axis by axis, and the slices to keep for each axis.

    The kept tensor is values[np.ix_(*kept)]; repeats must be restored in reverse order. Signs of zeros are lost.
    """
    repeats, kept = [], [np.arange(size) for size in values.shape]
    for axis in range(values.ndim):
        found = _along(values, axis)
        if found is not None:
            repeat, kept[axis] = found
            values = values.take(kept[axis], axis)
            repeats.append(repeat)
    return repeats, tuple(kept)


def restore(builder: NodeBuilder, value: str, repeats: list[Repeat]) -> str:
    """Add nodes that restore the whole tensor from the kept tensor `value`; return its name."""
    for repeat in reversed(repeats):
        value = builder.node("Gather", value, builder.integers(builder.constant(repeat.place)), axis=repeat.axis)
        if (repeat.signs < 0).any():
            signs = builder.node("Cast", builder.constant(repeat.signs), to=1)
            places = builder.integers(builder.constant(repeat.pattern))
            value = builder.node("Mul", value, builder.node("Gather", signs, places, axis=repeat.axis))
    return value


def _along(values: NDArray[np.float32], axis: int) -> tuple[Repeat, NDArray[np.intp]] | None:
    """Return the repeats of one axis and the slices to keep; None if too few slices repeat."""
    count = values.shape[axis]
    if not _LEAST_SLICES <= count <= 1 << 16 or values.size == count:
        return None
    rows = np.moveaxis(values, axis, 0).reshape(count, -1)
    sizes = np.abs(rows)
    keys = _keys(sizes)  # (slices,)
    _, first, group = np.unique(keys, return_index=True, return_inverse=True)
    if first.size > _WORTH_WHILE * count:
        return None
    kept = np.sort(first)
    place = np.searchsorted(kept, first)[group]  # (slices,) into `kept`
    patterns: list[NDArray[np.int8]] = []
    pattern = np.zeros(count, np.uint8)
    for row in range(count):
        origin = kept[place[row]]
        if not np.array_equal(sizes[row], sizes[origin]):
            return None  # two different slices have the same key
        found = _pattern((np.sign(rows[row]) * np.sign(rows[origin])).astype(np.int8), patterns)
        if found is None:
            return None
        pattern[row] = found
    signs = np.where(np.stack(patterns) < 0, -1, 1).astype(np.int8)  # (patterns, values of a slice)
    shape = np.moveaxis(values, axis, 0).shape[1:]
    signs = np.moveaxis(signs.reshape(len(patterns), *shape), 0, axis)
    return Repeat(axis, place.astype(np.uint16), pattern, signs), kept


def _keys(sizes: NDArray[np.float32]) -> NDArray[np.uint64]:
    """Return a number for each slice (slices, values), equal for equal slices: (slices,)."""
    weights = np.random.default_rng(0).integers(1, 1 << 63, sizes.shape[1], np.uint64) | np.uint64(1)
    keys: NDArray[np.uint64] = np.stack([(row.view(np.uint32) * weights).sum(dtype=np.uint64) for row in sizes])
    return keys


def _pattern(signs: NDArray[np.int8], patterns: list[NDArray[np.int8]]) -> int | None:
    """Return the number of a pattern that fits `signs` (0: any), added if it is new; None if there are too many."""
    for number, known in enumerate(patterns):
        if not (known * signs < 0).any():
            patterns[number] = np.where(known == 0, signs, known)
            return number
    if len(patterns) == _MOST_PATTERNS:
        return None
    patterns.append(signs)
    return len(patterns) - 1
