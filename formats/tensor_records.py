"""Make the header record of a tensor, its stored form, and the key by which equal tensors are found."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qacomp.formats.blocks import Division, lookup
from qacomp.formats.checksums import DigestStream
from qacomp.formats.dtypes import dtype_id, little_endian
from qacomp.formats.errors import UnsupportedTensorError
from qacomp.formats.limits import MAX_DIMS, MAX_NAME_BYTES
from qacomp.formats.records import DENSE, SHARED, TensorRecord
from qacomp.formats.tensors import SharedTensor, as_array, check_shared, is_float_vector, stored_form

_PART = 1 << 20
Tensor = NDArray[Any] | SharedTensor
Described = tuple[TensorRecord, NDArray[Any], NDArray[Any]]
"""A record without groups and digest, the array or finest codebook as stored, and the same as a reader returns it."""


def describe(name: str, tensor: Tensor, precision: str) -> Described:
    """Return the record and the stored form of a tensor whose codebook or vector is stored in this precision.

    Raises UnsupportedTensorError for a name, dtype, shape or index that can't be stored.
    """
    if not _is_text(name) or len(name.encode()) > MAX_NAME_BYTES:
        raise UnsupportedTensorError(
            f"tensor {name[:80]!r}: a name must be UTF-8 text of at most {MAX_NAME_BYTES} bytes; rename it"
        )
    described = (
        _shared(name, tensor, precision) if isinstance(tensor, SharedTensor) else _dense(name, tensor, precision)
    )
    if (dims := len(described[0].shape)) > MAX_DIMS:
        raise UnsupportedTensorError(
            f"tensor {name[:80]!r} has {dims} axes, but at most {MAX_DIMS} can be stored; reshape it"
        )
    return described


def identity(described: Described, tensor: Tensor, digest_bytes: int) -> tuple[bytes, bytes]:
    """Return (key, digest): tensors with equal content have equal keys; the digest is that of the decoded bytes."""
    record, content, values = described
    key, digest = DigestStream(16), DigestStream(digest_bytes)
    key.update(
        repr(
            (record.kind, record.dtype, record.stored, record.shape, record.levels, record.children, record.blocks)
        ).encode()
    )
    if not isinstance(tensor, SharedTensor):
        key.update(content)
        digest.update(values)
        return key.digest(), digest.digest()
    for level in tensor.levels:
        key.update(level.codebook)
    key.update(values)
    flat = tensor.indices.reshape(-1)
    for start in range(0, flat.size, _PART):
        part = flat[start : start + _PART]
        key.update(part.astype("<u2"))
        if tensor.blocks is None:
            digest.update(values.take(part))
        else:
            digest.update(lookup(values, part, Division(record.shape, tensor.blocks), start))
    return key.digest(), digest.digest()


def _dense(name: str, tensor: NDArray[Any], precision: str) -> Described:
    array = as_array(name, tensor)
    if array.dtype == np.bool_ and array.size and array.view(np.uint8).max() > 1:
        raise UnsupportedTensorError(
            f"tensor {name[:80]!r} has a truth value that is neither 0 nor 1; repair it with array.view('u1') != 0"
        )
    stored = stored_form(array, precision) if is_float_vector(array) else array
    record = TensorRecord(name, DENSE, dtype_id(array.dtype), dtype_id(stored.dtype), array.shape)
    return record, stored, stored.astype(array.dtype, copy=False)


def _shared(name: str, tensor: SharedTensor, precision: str) -> Described:
    check_shared(name, tensor)
    book = little_endian(tensor.codebook, name)
    stored = stored_form(book, precision)
    books = [level.codebook for level in tensor.levels] + [book]
    if stored.dtype != book.dtype and any(stored_form(b, precision).dtype == b.dtype for b in books):
        stored = book
    children = tuple(tuple(np.bincount(np.asarray(level.parents)).tolist()) for level in tensor.levels)
    record = TensorRecord(
        name,
        SHARED,
        dtype_id(book.dtype),
        dtype_id(stored.dtype),
        tensor.indices.shape,
        levels=tuple(b.shape[-1] for b in books),
        children=children,
        blocks=tensor.blocks,
    )
    return record, stored, stored.astype(book.dtype, copy=False)


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
