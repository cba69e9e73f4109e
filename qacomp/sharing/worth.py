"""Decide whether sharing makes a tensor smaller; a codebook that is as large as the tensor doesn't.

Both sizes are estimated from entropies, which is quick. If the estimates are close, both forms are encoded.
"""

import hashlib
import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qacomp.formats import BFLOAT16, SharedTensor, save_file, stored_values
from qacomp.formats.encoding import index_counts

_PLAIN = 0.8  # below this part of the floats' estimate the shared form is smaller for sure
_ENOUGH = 1 << 21  # values that are encoded to compare two forms
_SAMPLE = 1 << 16  # values of a sample
_MOST_KNOWN = 10_000  # arrays, whose digests take about a megabyte
_known: dict[bytes, int] = {}


def is_smaller(shared: SharedTensor, array: NDArray[Any], precision: str) -> bool:
    """Return whether the shared form, with codebooks, takes fewer bytes than `array` as lossless float planes.

    precision: in which the codebooks are stored.
    """
    if not array.size or shared_bits(shared, precision) < _PLAIN * float_bits(array):
        return True
    if array.size > 2 * _ENOUGH and shared.blocks is None:  # a part of a large tensor decides for all of it
        cut = slice(_ENOUGH)
        shared = SharedTensor(shared.codebook, shared.indices.reshape(-1)[cut])
        array = array.reshape(-1)[cut]
    coded = _coded_bytes(shared, precision)
    return 8 * coded < _PLAIN * float_bits(array) or coded < _plane_bytes(array)


def _coded_bytes(tensor: SharedTensor | NDArray[Any], precision: str) -> int:
    """Return the bytes that a tensor takes in a container."""
    with tempfile.TemporaryDirectory(prefix="qacomp-") as folder:
        return save_file(Path(folder) / "w.qac", {"w": tensor}, precision=precision).tensors[0].bytes


def _plane_bytes(array: NDArray[Any]) -> int:
    """Return the bytes that an array takes as lossless planes; searches ask for the same arrays again and again."""
    digest = hashlib.sha256(f"{array.dtype} {array.shape} ".encode() + array.tobytes()).digest()
    if digest not in _known:
        if len(_known) >= _MOST_KNOWN:
            _known.clear()
        _known[digest] = _coded_bytes(array, "exact")
    return _known[digest]


def may_be_larger(array: NDArray[Any], k: int, books: int) -> bool:
    """Return whether `books` codebooks of k values and indices may take more than the array as lossless planes."""
    bits = array.size * math.log2(max(2, min(k, array.size))) + 16 * k * books
    return bits >= _PLAIN * float_bits(array)


def shared_bits(shared: SharedTensor, precision: str) -> float:
    """Estimate the bits of a shared tensor: the entropy of its indices, and the values of its codebooks."""
    counts = index_counts(shared.indices)
    share = counts[counts > 0] / shared.indices.size
    books = [shared.codebook, *(level.codebook for level in shared.levels)]
    half = precision != "exact" and all(stored_values(book, precision) is not book for book in books)
    value = 16 if half else 8 * shared.codebook.dtype.itemsize
    numbers = sum(book.size for book in books)
    if shared.blocks is not None and _is_grid(shared.codebook):
        numbers = 2 * numbers // shared.codebook.shape[-1]  # a scale and a zero point are stored for each codebook
    return float(-(share * np.log2(share)).sum()) * shared.indices.size + value * numbers


def _is_grid(codebooks: NDArray[Any]) -> bool:
    """Return whether the first codebook has equal steps; all codebooks of a tensor are of one kind."""
    if codebooks.dtype == BFLOAT16:
        return False
    first = codebooks.reshape(-1, codebooks.shape[-1])[0].astype(np.float64)
    steps = np.diff(first)
    return bool(np.ptp(steps) <= 1e-3 * np.abs(steps).max()) if steps.size else False


def float_bits(array: NDArray[Any]) -> float:
    """Estimate the bits of an array as lossless planes: the sum of the entropies of its bytes, on a sample."""
    flat = array.reshape(-1)
    sample = np.ascontiguousarray(flat[:: max(1, math.ceil(flat.size / _SAMPLE))])
    total = 0.0
    for plane in sample.view(np.uint8).reshape(sample.size, -1).T:
        counts = np.bincount(plane, minlength=256)
        share = counts[counts > 0] / sample.size
        total -= float((share * np.log2(share)).sum())
    return total * array.size
