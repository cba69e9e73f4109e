"""Shared values on affine grids, w = scale · (q − zero point): what integer kernels multiply.

One for each output channel, or for each block of its inputs. A scale keeps few enough bits that every value of the grid
is exact in the precision that holds it: half precision for 2 and 4 bits, single for 8, and for weights so small that
half precision lacks the digits. So codebooks are stored as they are, and `decode --onnx affine` finds the same integers
and scales again, without an error.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qacomp.formats import BFLOAT16, SharedTensor, stored_values
from qacomp.sharing.affine_grid import AffineGrid, nearest_grid

WIDE_BITS = 8
"""Grids of so many bits need more than half precision has."""
_SCALE_BITS = {2: 9, 4: 7, 8: 8}  # half precision's 11 less the integer's; a factor of 1 + 2**-8 is near enough for 8
_SINGLE = np.dtype(np.float32)
_TYPES = {np.dtype(np.float16): (11, 24), BFLOAT16: (8, 133)}  # bits of a significand, and of 1 / the least number
_WIDEST = 149  # the latter of single precision


def grid_blocks(shape: tuple[int, ...], axis: int, block: int | None) -> tuple[tuple[int, ...], str | None]:
    """Return the part of a tensor that one grid serves, and why that isn't a block, where it should be one.

    axis: the output channels'; block: inputs of one of them, None for all.
    """
    whole = tuple(1 if place == axis else size for place, size in enumerate(shape))
    if block is None:
        return whole, None
    if len(shape) != 2:
        return whole, f"it has {len(shape)} axes, and blocks of {block} are a matrix's"
    if shape[1 - axis] < block:
        return whole, f"its {shape[1 - axis]} inputs are less than a block of {block}"
    return ((1, block) if axis == 0 else (block, 1)), None


def share_on_grid(
    values: NDArray[np.floating], axis: int, bits: int, block: int | None = None, dtype: np.dtype[Any] = _SINGLE
) -> SharedTensor:
    """Find the grid of least squared error for each output channel of finite `values`, or for each block of inputs.

    axis: the output channels'; block: see `grid_blocks`; dtype: the type that will hold the values, float16, BFLOAT16
    or float32. Codebooks float32 (1, ..., channels, ..., 1, 2 ** bits), or (channels, blocks, 2 ** bits) in the order
    of the axes; ascending, each with a zero.
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
    """Find the grids with plain scales, of which one beside the nearest may clip less, and their best integers."""
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
    """Round positive scales to as many bits as leave (2 ** bits − 1) · scale exact where it is stored."""
    kept = _kept(bits, dtype)
    finest = np.full(scale.shape, _TYPES[dtype][1] if dtype in _TYPES else _WIDEST)
    if dtype == _SINGLE and bits < WIDE_BITS:  # half precision, where it has the bits
        half = _TYPES[np.dtype(np.float16)][1]
        finest[scale >= 2.0 ** (kept - half)] = half
    significand, exponent = np.frexp(scale.astype(np.float64))  # significand in [0.5, 1)
    rounded = np.ldexp(np.rint(np.ldexp(significand, kept)), exponent - kept)
    whole = np.maximum(np.rint(np.ldexp(rounded, finest)), 1)  # multiples of the least number
    plain: NDArray[np.float32] = np.ldexp(whole, -finest).astype(np.float32)
    return plain


def is_exact_in(codebook: NDArray[np.float32], precision: str) -> bool:
    """Return whether this precision holds every value of the grids to the last bit."""
    return np.array_equal(stored_values(codebook, precision), codebook)


def _kept(bits: int, dtype: np.dtype[Any]) -> int:
    """Return how many bits a scale's significand may have."""
    room = _TYPES[dtype][0] - bits if dtype in _TYPES else _SCALE_BITS[bits]
    return max(1, min(_SCALE_BITS[bits], room))


def codebooks(scale: NDArray[np.float32], zero: NDArray[np.integer], bits: int) -> NDArray[np.float32]:
    """Return all values of the grids: (..., 2 ** bits) of scales and zero points (...,)."""
    steps = np.arange(1 << bits, dtype=np.float32) - zero[..., None].astype(np.float32)
    values: NDArray[np.float32] = steps * scale[..., None]
    return values


def grid_numbers(shared: SharedTensor) -> tuple[NDArray[np.float32], NDArray[np.uint8]] | None:
    """Return (scales, zero points), each (blocks along every axis), of float32 grids that hold zero; else None.

    (k − zero point) · scale is entry k of a codebook, exactly.
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
