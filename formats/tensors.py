"""Shared tensors, and what precision a float vector is stored in: the values that a reader will get."""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qacomp.formats.blocks import Division, grid, lookup
from qacomp.formats.dtypes import BFLOAT16, dtype_id, little_endian
from qacomp.formats.errors import UnsupportedTensorError
from qacomp.formats.limits import MAX_ALPHABET, MAX_LEVELS


@dataclass(frozen=True)
class Level:
    """A coarser view of a shared tensor: its own small codebook, and where each entry of the next finer one belongs.

    codebook: (k,) of the tensor's codebook dtype; parents: (k of the next finer level,) integers below k, never
    falling (the finer codebook stands in the order of its coarse cells; sorted codebooks on a line do).
    """

    codebook: NDArray[Any]
    parents: NDArray[Any]


@dataclass(frozen=True)
class SharedTensor:
    """Weights of one tensor as indices into a codebook.

    codebook: (K,) float or integer, in any order; indices: the tensor's shape, uint8 or uint16, all below K;
    levels: coarser views, the coarsest first, without the finest (which is codebook and indices): a file can be read
    at any of them; blocks: None for one codebook, else a block shape, one entry an axis of the tensor: the codebook
    then has the shape (ceil(d0 / b0), ..., ceil(dn / bn), K), and value (i0, ..., in) is
    codebook[i0 // b0, ..., in // bn, indices[i0, ..., in]]. Blocks and levels exclude each other.
    """

    codebook: NDArray[Any]
    indices: NDArray[Any]
    levels: tuple[Level, ...] = ()
    blocks: tuple[int, ...] | None = None

    def dense(self) -> NDArray[Any]:
        """Return the weights codebook[indices], in the codebook's dtype and the indices' shape."""
        if self.blocks is None:
            return self.codebook.take(self.indices)
        shape = self.indices.shape
        return lookup(self.codebook, self.indices.reshape(-1), Division(shape, self.blocks)).reshape(shape)

    def at_level(self, level: int) -> "SharedTensor":
        """Return the tensor at a coarser level (0 is the coarsest; the last is the tensor itself, without levels)."""
        if level >= len(self.levels):
            return SharedTensor(self.codebook, self.indices, (), self.blocks)
        parents = np.arange(len(self.codebook))
        for coarser in reversed(self.levels[level:]):
            parents = np.asarray(coarser.parents)[parents]
        book = self.levels[level].codebook
        dtype = np.uint8 if len(book) <= 256 else np.uint16
        return SharedTensor(book, parents.astype(dtype).take(self.indices))


def stored_values(array: NDArray[Any], precision: str = "exact") -> NDArray[Any]:
    """Return what a reader gets back for a codebook or a float32 vector that is written in this precision.

    "exact" keeps every bit. "fp16" rounds float32 to IEEE half precision where all values stay finite (else keeps
    float32). "fp15" ... "fp9" keep one sign, five exponent and N - 6 mantissa bits, rounded to nearest, ties to even.
    Other dtypes are never changed. Raises ValueError for an unknown precision.
    """
    bits = precision_bits(precision)
    if bits is None or array.dtype != np.float32 or not array.size:
        return array
    half = _to_half(array, bits)
    return array if half is None else half.astype(np.float32)


def is_float_vector(array: NDArray[Any]) -> bool:
    """Return whether a dense tensor is float32 with at most one axis: the writer's precision rounds such vectors."""
    return array.dtype == np.float32 and array.ndim <= 1


def precision_bits(precision: str) -> int | None:
    """Return the bits of a stored value: None for exact, N for fpN (9 to 16). Raises ValueError for others."""
    if precision == "exact":
        return None
    match = re.fullmatch(r"fp(9|1[0-6])", precision)
    if not match:
        raise ValueError(f"unknown precision {precision!r}; use exact, or fp16 down to fp9")
    return int(match[1])


def stored_form(array: NDArray[Any], precision: str) -> NDArray[Any]:
    """Return the array as it stands in the file: float16 where `stored_values` rounds, else itself."""
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
    if drop:  # rounding twice could go wrong on a tie of ties: round the float32 bits once, then cast exactly
        wide: NDArray[Any] = np.ascontiguousarray(array, "<f4").view("<u4").astype(np.uint64)
        keep = 13 + drop
        wide = (wide + (1 << (keep - 1)) - 1 + (wide >> keep & 1)) >> keep << keep
        with np.errstate(over="ignore"):
            half = wide.astype("<u4").view("<f4").astype("<f2").reshape(array.shape)
        word: NDArray[Any] = half.view("<u2")
        subnormal = (word & ((1 << drop) - 1)) != 0  # below the normal range the cast leaves low bits again
        word[subnormal] = word[subnormal] >> drop << drop
    return half if np.isfinite(half).all() else None


def check_shared(name: str, tensor: SharedTensor) -> None:
    """Raise UnsupportedTensorError, naming the tensor, unless the parts fit together."""
    book, indices = tensor.codebook, tensor.indices
    if tensor.blocks is not None:
        _check_blocks(name, tensor, tensor.blocks)
    elif book.ndim != 1:
        raise UnsupportedTensorError(f"{name}: a codebook has one axis, not shape {book.shape}; or give its blocks")
    k = book.shape[-1]
    if not 1 <= k <= MAX_ALPHABET:
        raise UnsupportedTensorError(f"{name}: a codebook has 1 to {MAX_ALPHABET} values, not {k}")
    if indices.dtype not in (np.uint8, np.uint16):
        raise UnsupportedTensorError(f"{name}: indices are uint8 or uint16, not {indices.dtype}")
    if indices.size and int(indices.max()) >= k:
        raise UnsupportedTensorError(f"{name}: index {int(indices.max())} lies outside the codebook of {k} values")
    dtype_id(book.dtype, name)
    if len(tensor.levels) >= MAX_LEVELS:
        raise UnsupportedTensorError(f"{name}: at most {MAX_LEVELS - 1} coarser levels can be stored")
    finer = k
    for level in reversed(tensor.levels):
        parents = np.asarray(level.parents)
        steps = np.diff(parents.astype(np.int64))
        fits = parents.shape == (finer,) and parents[0] == 0 and bool(np.isin(steps, (0, 1)).all())
        if not fits or int(parents[-1]) != len(level.codebook) - 1 or level.codebook.dtype != book.dtype:
            raise UnsupportedTensorError(f"{name}: a level's parents must rise 0, 0, ..., 1, ... over all its cells")
        finer = len(level.codebook)


def _check_blocks(name: str, tensor: SharedTensor, blocks: tuple[int, ...]) -> None:
    shape = tensor.indices.shape
    if tensor.levels:
        raise UnsupportedTensorError(f"{name}: codebooks in blocks can't have levels; store one or the other")
    if not blocks or len(blocks) != len(shape):
        raise UnsupportedTensorError(f"{name}: blocks {blocks} need one entry for each axis of the shape {shape}")
    if not all(1 <= block <= max(size, 1) for block, size in zip(blocks, shape, strict=True)):
        raise UnsupportedTensorError(f"{name}: blocks {blocks} don't lie between 1 and the shape {shape}")
    wanted = grid(shape, blocks)
    if tensor.codebook.shape[:-1] != wanted or tensor.codebook.ndim != len(shape) + 1:
        raise UnsupportedTensorError(
            f"{name}: blocks {blocks} of shape {shape} need a codebook of shape {(*wanted, 'K')}, not"
            f" {tensor.codebook.shape}".replace("'K'", "K")
        )


def as_array(name: str, tensor: object) -> NDArray[Any]:
    """Return a dense tensor in its storable form; raises UnsupportedTensorError for a dtype that the format lacks."""
    array = np.asarray(tensor)
    if array.dtype != BFLOAT16:
        dtype_id(array.dtype, name)
    return little_endian(array, name)
