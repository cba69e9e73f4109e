"""Find the nearest codebook entry of every value, with a look-up table instead of a binary search.

A monotone function maps values to cells of equal width, and a table has the number of midpoints below each cell. One
comparison (or a few) corrects the values in cells that hold midpoints. The result is exact, and several times faster.
"""

import numpy as np
from numpy.typing import NDArray

_CELLS = 1 << 14
_BLOCK = 1 << 15  # values processed at once
_MAX_CORRECTIONS = 4  # most midpoints in a cell


def assign(values: NDArray[np.floating], codebook: NDArray[np.floating]) -> NDArray[np.unsignedinteger]:
    """Return the index of the nearest codebook entry for each value: uint8 (K ≤ 256) or uint16, in the values' shape.

    codebook: (K,) ascending. A value halfway between two entries gets the lower one.
    """
    middles = (codebook[1:].astype(np.float64) + codebook[:-1].astype(np.float64)) / 2  # (K − 1,)
    dtype = np.uint8 if codebook.size <= 256 else np.uint16
    if values.size > 2 * _BLOCK and values.dtype == np.float32 and middles.size:
        found = _by_grid(values, _round_down(middles), np.dtype(dtype))
        if found is not None:
            return found
    indices: NDArray[np.unsignedinteger] = np.searchsorted(middles, values).astype(dtype)
    return indices


def _round_down(middles: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the largest float32 not above each midpoint; a float32 value is above both or above neither."""
    rounded = middles.astype(np.float32)
    return np.where(rounded > middles, np.nextafter(rounded, np.float32(-np.inf)), rounded)


def _by_grid(
    values: NDArray[np.float32], middles: NDArray[np.float32], dtype: np.dtype[np.unsignedinteger]
) -> NDArray[np.unsignedinteger] | None:
    """Return the indices for ascending float32 midpoints (K − 1,), or None if too many of them share a cell."""
    low, width = middles[0], np.float64(middles[-1]) - np.float64(middles[0])
    scale = np.float32((_CELLS - 2) / width) if width > 0 else np.float32(0)
    if not (np.isfinite(scale) and np.isfinite(width)):
        return None

    def cell(x: NDArray[np.float32]) -> NDArray[np.intp]:
        y = np.subtract(x, low)
        np.multiply(y, scale, out=y)
        np.add(y, np.float32(1), out=y)  # cell 0 is below the first midpoint
        cells: NDArray[np.intp] = np.clip(y, 0, _CELLS - 1, out=y).astype(np.intp)
        return cells

    own = cell(middles)  # (K − 1,)
    corrections = int(np.bincount(own).max())
    if corrections > _MAX_CORRECTIONS:
        return None
    below = np.searchsorted(own, np.arange(_CELLS)).astype(np.intp)  # (cells,): number of midpoints in lower cells
    thresholds = np.append(middles, np.float32(np.inf))  # (K,)
    indices = np.empty(values.shape, dtype)
    source, target = np.ascontiguousarray(values).reshape(-1), indices.reshape(-1)
    for start in range(0, source.size, _BLOCK):
        x = source[start : start + _BLOCK]
        index = below.take(cell(x))
        for _ in range(corrections):
            index += x > thresholds.take(index)
        target[start : start + _BLOCK] = index
    return indices
