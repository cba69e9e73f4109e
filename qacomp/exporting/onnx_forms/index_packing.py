"""Pack indices into ONNX tensors, several in a word.

For up to 256 shared values there are three ways, of which the smallest is used: one index in a uint8; the types uint4
(since opset 21) and uint2 (since opset 25); or several indices in a byte, as n digits in base B. A table with B**n rows
of n digits unpacks such bytes with a plain Gather, in every opset: B = 16 gives two indices in a byte, 6 three, 4 four,
3 five and 2 eight. For more than 256 shared values an index is a uint8 and a higher digit, which is packed in one of
these ways: 10 bits for 1,024 values. With a codebook for each block of weights, the block's offset in the table of all
codebooks is added to the index.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qacomp.formats import SharedTensor

UINT4_OPSET = 21
UINT2_OPSET = 25
_BASES = {2: 8, 3: 5, 4: 4, 6: 3, 16: 2}  # base -> digits in a byte


@dataclass(frozen=True)
class Packing:
    """A way to pack indices. dtype: ONNX type of a word; bits: of a word; base, digits: of the table that unpacks them.

    digits is 1 without a table. factor: by which the table's digits are multiplied; high: how index >> 8 is packed, if
    the words hold index & 255; else None.
    """

    dtype: str
    bits: int
    base: int = 0
    digits: int = 1
    factor: int = 1
    high: Packing | None = None

    @property
    def detail(self) -> str:
        """Return a description such as `uint4 indices`, `3 indices a byte` or `indices of 10 bits`."""
        if self.high is not None:
            return f"indices of {8 + self.high.bits / self.high.digits:.3g} bits"
        return f"{self.digits} indices a byte" if self.digits > 1 else f"{self.dtype.lower()} indices"

    def stored_bytes(self, count: int) -> int:
        """Return the bytes of `count` packed indices."""
        if self.high is not None:
            return count + self.high.stored_bytes(count)
        return -(-(-(-count // self.digits) * self.bits) // 8)


def choose_packing(k: int, opset: int) -> Packing:
    """Return the smallest packing of indices below `k` for this opset; of equally small ones the simplest."""
    if k > 256:
        high = choose_packing(-(-k // 256), opset)
        return Packing("UINT8", 8, high=high) if high.bits / high.digits < 8 else Packing("UINT16", 16)
    choices = [Packing("UINT8", 8)]
    if k <= 4 and opset >= UINT2_OPSET:
        choices.insert(0, Packing("UINT2", 2))
    if k <= 16 and opset >= UINT4_OPSET:
        choices.insert(0, Packing("UINT4", 4))
    base = next((b for b in sorted(_BASES) if k <= b), None)
    if base is not None:
        choices.append(Packing("UINT8", 8, base, _BASES[base]))
    return min(choices, key=lambda p: p.bits / p.digits)


def pack(indices: NDArray[np.integer], packing: Packing) -> NDArray[np.integer]:
    """Pack indices into words (one axis); with a table, a word's first digit is the highest; zeros come last."""
    flat = indices.reshape(-1)
    if packing.digits == 1:
        return flat.astype(np.uint16 if packing.dtype == "UINT16" else np.uint8)
    words = -(-flat.size // packing.digits)
    padded = np.zeros(words * packing.digits, np.uint8)
    padded[: flat.size] = flat
    weights = packing.base ** np.arange(packing.digits - 1, -1, -1)  # (digits,)
    return (padded.reshape(words, packing.digits) @ weights.astype(np.int64)).astype(np.uint8)


def digit_table(packing: Packing) -> NDArray[np.uint8]:
    """Return the digits of every word, the most significant first: (base ** digits, digits)."""
    words = np.arange(packing.base**packing.digits)[:, None]
    return (words // packing.base ** np.arange(packing.digits - 1, -1, -1) % packing.base).astype(np.uint8)


def block_offsets(tensor: SharedTensor) -> list[NDArray[np.int32]]:
    """Return vectors, one for an axis, whose sum is the offset of each weight's codebook in the flat table of all.

    There is an int32 vector of shape (1, ..., d, ..., 1), for broadcasting, for each axis with several blocks; none for
    a single codebook. Weight (i0, ..., in) reads codebook[i0 // b0, ..., in // bn, index], which is entry Σ (i // b) ·
    s + index of the flat table, where s are the strides of the codebook's axes.
    """
    if tensor.blocks is None:
        return []
    shape, book = tensor.indices.shape, tensor.codebook.shape
    vectors = []
    for axis, (size, block) in enumerate(zip(shape, tensor.blocks, strict=True)):
        if book[axis] > 1:
            stride = math.prod(book[axis + 1 :])
            spread = [1] * len(shape)
            spread[axis] = size
            vectors.append((np.arange(size) // block * stride).astype(np.int32).reshape(spread))
    return vectors
