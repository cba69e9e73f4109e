"""Shared values on an affine grid for each output channel, w = scale · (q − zero point): what integer kernels multiply.

A scale keeps few enough bits that every value of the grid is exact in half precision. So codebooks are stored as they
are, and `decode --onnx affine` finds the same integers and scales again, without an error.
"""

import numpy as np
from numpy.typing import NDArray

from qacomp.formats import SharedTensor
from qacomp.onnx_export.affine_grid import nearest_grid

GRIDS = {"affine2": 2, "affine4": 4}
"""Kinds of --codebook -> bits of an integer."""
_HALF_BITS, _FINEST = 11, 24  # half precision's significand, and the exponent of 1 / its least number


def share_on_grid(values: NDArray[np.floating], axis: int, bits: int) -> SharedTensor:
    """The grid of least squared error for each output channel, which run along `axis` of finite `values`.

    Codebooks float32 (1, ..., channels, ..., 1, 2 ** bits), ascending, each with a zero; blocks are channels.
    """
    rows = np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1).astype(np.float32)  # (channels, n)
    grid = nearest_grid(np.ascontiguousarray(rows.T), bits, rows.shape[1])
    scale, zero = plain_scale(np.abs(grid.scale[0]), bits), grid.zero[0].astype(np.float32)  # (channels,)
    steps = np.arange(1 << bits, dtype=np.float32) - zero[:, None]  # (channels, 2 ** bits)
    top = np.float32((1 << bits) - 1)
    q = np.clip(np.rint(rows / scale[:, None]) + zero[:, None], 0, top).astype(np.uint8)
    shape, blocks = [1] * values.ndim, list(values.shape)
    shape[axis], blocks[axis] = values.shape[axis], 1
    others = [size for place, size in enumerate(values.shape) if place != axis]
    indices = np.moveaxis(q.reshape(values.shape[axis], *others), 0, axis)
    codebook = (steps * scale[:, None]).reshape(*shape, 1 << bits)
    return SharedTensor(codebook, np.ascontiguousarray(indices), (), tuple(blocks))


def plain_scale(scale: NDArray[np.float32], bits: int) -> NDArray[np.float32]:
    """Positive scales rounded to as many bits as leave (2 ** bits − 1) · scale exact in half precision."""
    kept = _HALF_BITS - bits
    significand, exponent = np.frexp(scale)  # significand in [0.5, 1)
    rounded = np.ldexp(np.rint(np.ldexp(significand, kept)), exponent - kept)
    whole = np.maximum(np.rint(np.ldexp(rounded, _FINEST)), 1)  # multiples of half precision's least number
    plain: NDArray[np.float32] = np.ldexp(whole, -_FINEST).astype(np.float32)
    return plain


def grid_steps(shared: SharedTensor) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.uint8]] | None:
    """(steps (channels, k), scales (channels,), zero points (channels,)) of codebooks on grids that hold zero, or None.

    steps · scale is the codebook, exactly.
    """
    if shared.blocks is None or shared.codebook.dtype != np.float32:
        return None
    books = shared.codebook.reshape(-1, shared.codebook.shape[-1])  # (channels, k)
    scale = books[:, 1] - books[:, 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        zero = np.rint(-books[:, 0] / scale)
    if not ((scale > 0) & (zero >= 0) & (zero < books.shape[1])).all():
        return None
    steps = np.arange(books.shape[1], dtype=np.float32) - zero[:, None].astype(np.float32)
    if not np.array_equal(steps * scale[:, None], books):
        return None
    return steps, scale, zero.astype(np.uint8)


def rescaled(books: NDArray[np.float32], factors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Grids (channels, k) whose scales are multiplied by (channels,) factors, and rounded as `plain_scale` does."""
    bits = (books.shape[1] - 1).bit_length()
    scale = books[:, 1] - books[:, 0]
    steps = np.rint(books / scale[:, None])
    return (steps * plain_scale(scale * np.abs(factors), bits)[:, None]).astype(np.float32)
