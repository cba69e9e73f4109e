"""Find the affine grid nearest to each block of a matrix: w ≈ scale · (q − zero point), with q of 2, 4 or 8 bits.

The range is searched as in the round-to-nearest baselines of OmniQuant and GPTQ: each block's range is shrunk in steps,
and the step with the least squared error is kept. Its scale is the least-squares one for the integers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_SHRINKS = np.linspace(1.0, 0.6, 17)
_ON_GRID = 2.0**-10  # tolerance relative to the largest value; rounding a codebook to fp16 stays below it
_COLUMNS = 1 << 20  # weights processed at once
_PARTS = 16  # into how many steps the smallest gap between values may be divided, where some multiples don't occur


@dataclass(frozen=True)
class AffineGrid:
    """A matrix on affine grids. q: integers (rows, columns); block: rows of a block, 0 for one grid for each column.

    scale, zero: (blocks, columns), or (columns,) if `block` is 0.
    """

    q: NDArray[np.uint8]
    scale: NDArray[np.float32]
    zero: NDArray[np.uint8]
    block: int

    def dense(self) -> NDArray[np.float32]:
        """Compute the values as DequantizeLinear does: (q − zero) · scale in float32."""
        rows = np.arange(len(self.q)) // self.block if self.block else ...  # row of scale and zero for each row of q
        steps = self.q.astype(np.int32) - self.zero[rows].astype(np.int32)
        values: NDArray[np.float32] = steps.astype(np.float32) * self.scale[rows]
        return values


def nearest_grid(matrix: NDArray[np.float32], bits: int, block: int) -> AffineGrid:
    """Return the nearest grid for each `block` rows of each column of a matrix; the last block may be shorter."""
    rows, columns = matrix.shape
    blocks = -(-rows // block)
    q = np.empty((rows, columns), np.uint8)
    scale = np.empty((blocks, columns), np.float32)
    zero = np.empty((blocks, columns), np.uint8)
    step = max(1, _COLUMNS // (blocks * block))
    for start in range(0, columns, step):
        part = matrix[:, start : start + step]
        padded = np.zeros((blocks * block, part.shape[1]), np.float32)
        padded[:rows] = part
        cube = padded.reshape(blocks, block, -1)  # (blocks, block, columns)
        found, scales, zeros = _search(cube, bits)
        scale[:, start : start + step], zero[:, start : start + step] = scales, zeros
        q[:, start : start + step] = found.reshape(blocks * block, -1)[:rows]
    return AffineGrid(q, scale, zero, block)


def _search(cube: NDArray[np.float32], bits: int) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.uint8]]:
    """Return integers (blocks, block, columns), scales and zero points (blocks, columns) of least squared error."""
    top = (1 << bits) - 1
    low, high = (np.minimum(cube.min(axis=1), 0), np.maximum(cube.max(axis=1), 0))  # (blocks, columns)
    exponent = np.frexp(np.maximum(high, -low))[1]  # values are scaled to near 1, so that squares fit float32
    cube, low, high = np.ldexp(cube, -exponent[:, None]), np.ldexp(low, -exponent), np.ldexp(high, -exponent)
    best = np.full(low.shape, np.inf, np.float32)
    q = np.zeros(cube.shape, np.uint8)
    scale, zero = np.ones(low.shape, np.float32), np.zeros(low.shape, np.uint8)
    for shrink in _SHRINKS:
        width = (high - low) * np.float32(shrink / top)
        width = np.where(width == 0, np.float32(1), width)
        offset = np.clip(np.rint(-low * np.float32(shrink) / width), 0, top)
        levels = np.clip(np.rint(cube / width[:, None]) + offset[:, None], 0, top)
        steps = levels - offset[:, None]  # 0 for the zeros that pad the last block
        norms = (steps * steps).sum(axis=1)
        fitted = np.where(norms > 0, (steps * cube).sum(axis=1) / np.maximum(norms, 1), width)
        error = ((cube - steps * fitted[:, None]) ** 2).sum(axis=1)
        better = error < best
        best = np.where(better, error, best)
        scale = np.where(better, fitted, scale).astype(np.float32)
        zero = np.where(better, offset, zero).astype(np.uint8)
        q = np.where(better[:, None], levels, q).astype(np.uint8)
    return q, np.ldexp(scale, exponent), zero


def exact_multiples(codebook: NDArray[np.floating]) -> tuple[NDArray[np.int64], np.float32] | None:
    """Return (integers k, step) if each value is exactly k * step, multiplied in float32; else None.

    codebook: (K,) float32 in any order. The step is the largest one that is found.
    """
    if codebook.dtype != np.float32 or not np.isfinite(codebook).all():
        return None
    gaps = np.diff(np.unique(np.append(codebook, np.float32(0)).astype(np.float64)))
    if not gaps.size:
        return np.zeros(codebook.shape, np.int64), np.float32(1)
    for parts in range(1, _PARTS + 1):
        step = np.float32(gaps.min() / parts)
        if step == 0:
            return None
        multiples = np.rint(codebook.astype(np.float64) / step)
        if np.array_equal(multiples.astype(np.float32) * step, codebook) and np.abs(multiples).max() < 1 << 24:
            return multiples.astype(np.int64), step
    return None


def codebook_grid(codebook: NDArray[np.float32], bits: int) -> tuple[NDArray[np.uint8], float, int] | None:
    """Return (q of each value, scale, zero point) if the values are on one affine grid of `bits` bits, else None.

    codebook: (K,) in any order. The grid has as few steps as the values allow.
    """
    top = (1 << bits) - 1
    values = codebook.astype(np.float64)
    width = max(float(values.max()), 0.0) - min(float(values.min()), 0.0)
    if width == 0:
        return np.zeros(values.shape, np.uint8), 1.0, 0
    for steps in range(1, top + 1):
        whole = np.rint(values / (width / steps))
        scale = float(whole @ values / (whole @ whole)) if whole.any() else 0.0
        if np.abs(whole * scale - values).max() <= _ON_GRID * np.abs(values).max():
            zero = -min(int(whole.min()), 0)
            if int(whole.max()) + zero <= top:
                return (whole + zero).astype(np.uint8), scale, zero
    return None
