"""Define shared tensors, and round codebooks and float vectors to the precision in which they are stored."""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qacomp.formats.blocks import Division, grid, lookup
from qacomp.formats.dtypes import BFLOAT16, dtype_id, little_endian
from qacomp.formats.errors import UnsupportedTensorError
from qacomp.formats.limits import MAX_ALPHABET, MAX_LEVELS

_PIECE = 1 << 16  # values looked up at once


@dataclass(frozen=True)
class Level:
    """A coarser level of a shared tensor: a smaller codebook, and the parent of each entry of the next finer one.

    codebook: (k,) in the dtype of the tensor's codebook; parents: (k of the next finer level,) integers below k in
    ascending order, without gaps. So entries with the same parent must be neighbours in the finer codebook, as they are
    if codebooks are sorted.
    """

    codebook: NDArray[Any]
    parents: NDArray[Any]


@dataclass(frozen=True)
class SharedTensor:
    """A tensor whose weights are indices into a codebook.

    codebook: (K,) float or integer, in any order; indices: the tensor's shape, uint8 or uint16, all below K; levels:
    the coarser levels at which a file can be read too, the coarsest first (the finest is codebook and indices); blocks:
    None for one codebook, else a block shape with one entry for each axis of the tensor. With blocks the codebook has
    the shape (ceil(d0 / b0), ..., ceil(dn / bn), K), and value (i0, ..., in) is codebook[i0 // b0, ..., in // bn,
    indices[i0, ..., in]]. A tensor has blocks or levels, not both.
    """

    codebook: NDArray[Any]
    indices: NDArray[Any]
    levels: tuple[Level, ...] = ()
    blocks: tuple[int, ...] | None = None

    def part(self, start: int, stop: int) -> NDArray[Any]:
        """Return the weights [start, stop) in row-major order, flat."""
        indices = self.indices.reshape(-1)[start:stop]
        if self.blocks is None:
            return self.codebook.take(indices)
        return lookup(self.codebook, indices, Division(self.indices.shape, self.blocks), start)

    def dense(self) -> NDArray[Any]:
        """Return the weights codebook[indices], in the codebook's dtype and the indices' shape."""
        if self.blocks is None:
            flat = self.indices.reshape(-1)
            dense = np.empty(flat.size, self.codebook.dtype)
            for start in range(0, flat.size, _PIECE):  # `take` converts its indices to 8 bytes each: piece by piece
                dense[start : start + _PIECE] = self.codebook.take(flat[start : start + _PIECE])
            return dense.reshape(self.indices.shape)
        shape = self.indices.shape
        return lookup(self.codebook, self.indices.reshape(-1), Division(shape, self.blocks)).reshape(shape)

    def at_level(self, level: int) -> "SharedTensor":
        """Return the tensor at a level, without further levels; 0 is the coarsest, len(levels) or more the finest."""
        if level >= len(self.levels):
            return SharedTensor(self.codebook, self.indices, (), self.blocks)
        parents = np.arange(len(self.codebook))
        for coarser in reversed(self.levels[level:]):
            parents = np.asarray(coarser.parents)[parents]
        book = self.levels[level].codebook
        dtype = np.uint8 if len(book) <= 256 else np.uint16
        return SharedTensor(book, parents.astype(dtype).take(self.indices))


def stored_values(array: NDArray[Any], precision: str = "exact") -> NDArray[Any]:
    """Return the values that a reader gets for a codebook or a float32 vector that is written in this precision.

    "exact" keeps every bit. "fp16" rounds float32 to IEEE half precision (nearest, ties to even). "fp15" ... "fp9" keep
    one sign bit, five exponent bits and N - 6 mantissa bits. If a value wouldn't stay finite, the array is returned
    unchanged, as other dtypes always are. The shape and dtype stay. Raises ValueError for an unknown precision.
    """
    bits = precision_bits(precision)
    if bits is None or array.dtype != np.float32 or not array.size:
        return array
    half = _to_half(array, bits)
    return array if half is None else half.astype(np.float32)


def is_float_vector(array: NDArray[Any]) -> bool:
    """Return whether a dense tensor is float32 with at most one axis, to which the writer's precision applies."""
    return array.dtype == np.float32 and array.ndim <= 1


def precision_bits(precision: str) -> int | None:
    """Return the bits of a precision: None for "exact", N for "fpN" (9 to 16). Raises ValueError for other names."""
    if precision == "exact":
        return None
    match = re.fullmatch(r"fp(9|1[0-6])", precision)
    if not match:
        raise ValueError(f"unknown precision {precision!r}; use exact, or fp16 down to fp9")
    return int(match[1])


def stored_form(array: NDArray[Any], precision: str) -> NDArray[Any]:
    """Return the array in the dtype of the file: float16 if `stored_values` rounds it, else the array itself."""
    bits = precision_bits(precision)
    if bits is None or array.dtype != np.float32 or not array.size:
        return array
    half = _to_half(array, bits)
    return array if half is None else half


def _to_half(array: NDArray[Any], bits: int) -> NDArray[np.float16] | None:
    if not np.isfinite(array).all():
        return None
    with np.errstate(over="ignore"):
        half = array.astype("<f2")
    drop = 16 - bits
    if drop:  # rounding twice could round a tie the wrong way: round the float32 bits once, then cast exactly
        wide: NDArray[Any] = np.ascontiguousarray(array, "<f4").view("<u4").astype(np.uint64)
        keep = 13 + drop
        wide = (wide + (1 << (keep - 1)) - 1 + (wide >> keep & 1)) >> keep << keep
        with np.errstate(over="ignore"):
            half = wide.astype("<u4").view("<f4").astype("<f2").reshape(array.shape)
        word: NDArray[Any] = half.view("<u2")
        subnormal = (word & ((1 << drop) - 1)) != 0  # the cast of subnormal values can set low bits again: clear them
        word[subnormal] = word[subnormal] >> drop << drop
    return half if np.isfinite(half).all() else None


def check_shared(name: str, tensor: SharedTensor) -> None:
    """Raise UnsupportedTensorError, with the tensor's name, unless its codebook, indices, levels and blocks fit."""
    book, indices = tensor.codebook, tensor.indices
    if tensor.blocks is not None:
        _check_blocks(name, tensor, tensor.blocks)
    elif book.ndim != 1:
        raise UnsupportedTensorError(
            f"{name}: the codebook has shape {book.shape}, not (K,); give `blocks` if each block has its own"
        )
    k = book.shape[-1]
    if not 1 <= k <= MAX_ALPHABET:
        raise UnsupportedTensorError(f"{name}: the codebook has {k} values; give 1 to {MAX_ALPHABET}")
    if indices.dtype not in (np.uint8, np.uint16):
        raise UnsupportedTensorError(f"{name}: the indices are {indices.dtype}; convert them to uint8 or uint16")
    if indices.size and int(indices.max()) >= k:
        raise UnsupportedTensorError(
            f"{name}: index {int(indices.max())} is outside the codebook of {k} values; indices must be below that"
        )
    dtype_id(book.dtype, name)
    if len(tensor.levels) >= MAX_LEVELS:
        raise UnsupportedTensorError(
            f"{name}: has {len(tensor.levels)} coarser levels; at most {MAX_LEVELS - 1} can be stored"
        )
    finer = k
    for level in reversed(tensor.levels):
        parents = np.asarray(level.parents)
        steps = np.diff(parents.astype(np.int64))
        fits = parents.shape == (finer,) and parents[0] == 0 and bool(np.isin(steps, (0, 1)).all())
        if not fits or int(parents[-1]) != len(level.codebook) - 1 or level.codebook.dtype != book.dtype:
            raise UnsupportedTensorError(
                f"{name}: a level's parents must give every entry of the next finer codebook, in ascending order from 0"
                " without gaps, and all codebooks must have one dtype"
            )
        finer = len(level.codebook)


def _check_blocks(name: str, tensor: SharedTensor, blocks: tuple[int, ...]) -> None:
    shape = tensor.indices.shape
    if tensor.levels:
        raise UnsupportedTensorError(f"{name}: has blocks and levels; store one without the other")
    if not blocks or len(blocks) != len(shape):
        raise UnsupportedTensorError(f"{name}: blocks {blocks} must have one entry for each axis of shape {shape}")
    if not all(1 <= block <= max(size, 1) for block, size in zip(blocks, shape, strict=True)):
        raise UnsupportedTensorError(f"{name}: each entry of blocks {blocks} must be from 1 to the axis of {shape}")
    wanted = grid(shape, blocks)
    if tensor.codebook.shape[:-1] != wanted or tensor.codebook.ndim != len(shape) + 1:
        raise UnsupportedTensorError(
            f"{name}: blocks {blocks} of shape {shape} need a codebook of shape {(*wanted, 'K')}, not"
            f" {tensor.codebook.shape}".replace("'K'", "K")
        )


def as_array(name: str, tensor: object) -> NDArray[Any]:
    """Return a dense tensor as a little-endian array. Raises UnsupportedTensorError if its dtype can't be stored."""
    array = np.asarray(tensor)
    if array.dtype != BFLOAT16:
        dtype_id(array.dtype, name)
    return little_endian(array, name)
