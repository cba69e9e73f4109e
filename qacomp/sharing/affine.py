"""Share values on affine grids, w = scale · (q − zero point), the form that integer kernels multiply.

There is a grid for each output channel, or for each group of its inputs. A scale is rounded to few bits, so that every
value of the grid is exact in the precision that stores it: fp16 for 2 and 4 bits, fp32 for 8 bits and for weights too
small for fp16. So codebooks are stored without an error, and `decode --onnx affine` restores the same integers and
scales.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qacomp.formats import BFLOAT16, SharedTensor, stored_values
from qacomp.sharing.affine_grid import AffineGrid, nearest_grid

WIDE_BITS = 8
"""Bits from which a grid needs more digits than fp16 has."""
_SCALE_BITS = {2: 9, 4: 7, 8: 8}  # significant bits of a scale: fp16's 11 less the integer's; for 8, 8 is enough
_SINGLE = np.dtype(np.float32)
_TYPES = {np.dtype(np.float16): (11, 24), BFLOAT16: (8, 133)}  # bits of a significand, -log2 of the smallest number
_WIDEST = 149  # -log2 of the smallest number of float32


def grid_blocks(shape: tuple[int, ...], axis: int, block: int | None) -> tuple[tuple[int, ...], str | None]:
    """Return the block shape of one grid, and the reason if that is a whole channel although a group was requested.

    axis: that of the output channels; block: group size (inputs of a channel), None for the whole channel.
    """
    whole = tuple(1 if place == axis else size for place, size in enumerate(shape))
    if block is None:
        return whole, None
    if len(shape) != 2:
        return whole, f"it has {len(shape)} axes, and groups of {block} need a matrix"
    if shape[1 - axis] < block:
        return whole, f"its {shape[1 - axis]} inputs are fewer than the group size of {block}"
    return ((1, block) if axis == 0 else (block, 1)), None


def share_on_grid(
    values: NDArray[np.floating], axis: int, bits: int, block: int | None = None, dtype: np.dtype[Any] = _SINGLE
) -> SharedTensor:
    """Share finite `values` on the grid of least squared error for each output channel, or for each group of inputs.

    axis: that of the output channels; block: see `grid_blocks`; dtype: the type that will store the values: float16,
    BFLOAT16 or float32. Codebooks are float32 (1, ..., channels, ..., 1, 2 ** bits) or, with groups, (channels, groups,
    2 ** bits) in the order of the axes; each is ascending and holds zero.
    """
    blocks, _ = grid_blocks(values.shape, axis, block)
    rows = np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1).astype(np.float32)  # (channels, inputs)
    matrix = np.ascontiguousarray(rows.T)
    inputs = blocks[1 - axis] if values.ndim == 2 else len(matrix)
    grid = _plain(matrix, nearest_grid(matrix, bits, inputs), bits, dtype)
    books = codebooks(grid.scale.T, grid.zero.T, bits)  # (channels, blocks, 2 ** bits)
    counts = [-(-size // part) for size, part in zip(values.shape, blocks, strict=True)]
    others = [size for place, size in enumerate(values.shape) if place != axis]
    indices = np.moveaxis(grid.q.T.reshape(values.shape[axis], *others), 0, axis)
    ordered = books.swapaxes(0, 1) if values.ndim == 2 and axis == 1 else books
    return SharedTensor(ordered.reshape(*counts, 1 << bits), np.ascontiguousarray(indices), (), blocks)


def _plain(matrix: NDArray[np.float32], grid: AffineGrid, bits: int, dtype: np.dtype[Any]) -> AffineGrid:
    """Return the grids with rounded scales (see `plain_scale`) of least error, and their integers.

    For each scale the nearest rounded one and its two neighbours are tried, since a larger one may clip less.
    """
    starts, numbers = np.arange(0, len(matrix), grid.block), np.arange(len(matrix)) // grid.block
    nearest = plain_scale(np.abs(grid.scale), bits, dtype)  # (blocks, columns)
    step = np.ldexp(np.float32(1), np.frexp(nearest)[1] - _kept(bits, dtype))
    zero, top = grid.zero[numbers].astype(np.float32), np.float32((1 << bits) - 1)
    best, scale, q = np.full(nearest.shape, np.inf), nearest, grid.q
    for tried in (nearest, nearest + step, nearest - step):
        plain = plain_scale(tried, bits, dtype)
        with np.errstate(over="ignore"):
            levels = np.clip(np.rint(matrix / plain[numbers]) + zero, 0, top)
            rest = ((levels - zero) * plain[numbers]).astype(np.float64) - matrix
        error = np.add.reduceat(rest**2, starts, axis=0)
        better = error < best
        best, scale = np.where(better, error, best), np.where(better, plain, scale)
        q = np.where(better[numbers], levels, q).astype(np.uint8)
    return AffineGrid(q, scale, grid.zero, grid.block)


def plain_scale(scale: NDArray[np.float32], bits: int, dtype: np.dtype[Any] = _SINGLE) -> NDArray[np.float32]:
    """Round positive scales to so few bits that their multiples up to (2 ** bits − 1) · scale are exact as stored."""
    kept = _kept(bits, dtype)
    finest = np.full(scale.shape, _TYPES[dtype][1] if dtype in _TYPES else _WIDEST)
    if dtype == _SINGLE and bits < WIDE_BITS:  # stored in fp16, if it has enough digits for this scale
        half = _TYPES[np.dtype(np.float16)][1]
        finest[scale >= 2.0 ** (kept - half)] = half
    significand, exponent = np.frexp(scale.astype(np.float64))  # significand in [0.5, 1)
    rounded = np.ldexp(np.rint(np.ldexp(significand, kept)), exponent - kept)
    whole = np.maximum(np.rint(np.ldexp(rounded, finest)), 1)  # in multiples of the smallest number
    plain: NDArray[np.float32] = np.ldexp(whole, -finest).astype(np.float32)
    return plain


def is_exact_in(codebook: NDArray[np.float32], precision: str) -> bool:
    """Return whether every value of the grids is exact in this precision."""
    return np.array_equal(stored_values(codebook, precision), codebook)


def _kept(bits: int, dtype: np.dtype[Any]) -> int:
    """Return how many significant bits a scale may have."""
    room = _TYPES[dtype][0] - bits if dtype in _TYPES else _SCALE_BITS[bits]
    return max(1, min(_SCALE_BITS[bits], room))


def codebooks(scale: NDArray[np.float32], zero: NDArray[np.integer], bits: int) -> NDArray[np.float32]:
    """Return all values of the grids (..., 2 ** bits), given scales and zero points (...,)."""
    steps = np.arange(1 << bits, dtype=np.float32) - zero[..., None].astype(np.float32)
    values: NDArray[np.float32] = steps * scale[..., None]
    return values


def grid_numbers(shared: SharedTensor) -> tuple[NDArray[np.float32], NDArray[np.uint8]] | None:
    """Return (scales, zero points) if all codebooks are float32 grids that hold zero, else None.

    Both have one entry for each codebook, in the shape of the codebooks without K. Entry k of a codebook is exactly
    (k − zero point) · scale.
    """
    k = shared.codebook.shape[-1]
    if shared.blocks is None or shared.codebook.dtype != np.float32 or not 2 <= k <= 256:
        return None
    first = shared.codebook[..., 0]
    scale = shared.codebook[..., 1] - first
    with np.errstate(divide="ignore", invalid="ignore"):
        zero = np.rint(-first / scale)
    if not ((scale > 0) & (zero >= 0) & (zero < k)).all():
        return None
    steps = np.arange(k, dtype=np.float32) - zero[..., None]
    return (scale, zero.astype(np.uint8)) if np.array_equal(steps * scale[..., None], shared.codebook) else None
