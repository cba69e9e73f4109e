"""CRC-32 for sections, BLAKE2b for the identity of decoded tensors."""

import hashlib
import zlib

import numpy as np
from numpy.typing import NDArray

DIGEST_BYTES = 4
"""Digest length that the writer uses unless told otherwise; CRCs guard the bytes, the digest guards the values."""


def crc32(data: bytes | bytearray | memoryview) -> int:
    """Return the CRC-32 (ISO-HDLC, as zlib's) of the bytes."""
    return zlib.crc32(data) & 0xFFFFFFFF


def tensor_digest(array: NDArray[np.generic], size: int = DIGEST_BYTES) -> bytes:
    """Return BLAKE2b with `size` bytes of output over the array's little-endian row-major bytes alone."""
    if size == 0:
        return b""
    flat = np.ascontiguousarray(array).reshape(-1)
    return hashlib.blake2b(flat.view(np.uint8).data, digest_size=size).digest()


class DigestStream:
    """`tensor_digest` over parts that come one after the other."""

    def __init__(self, size: int) -> None:
        self._hash = hashlib.blake2b(digest_size=max(size, 1))
        self._size = size

    def update(self, part: NDArray[np.generic] | bytes) -> None:
        """Take in the next part's little-endian row-major bytes."""
        if self._size:
            if isinstance(part, bytes):
                self._hash.update(part)
            else:
                flat = np.ascontiguousarray(part).reshape(-1)
                self._hash.update(flat.view(np.uint8).data)

    def digest(self) -> bytes:
        """Return the digest of everything so far."""
        return self._hash.digest()[: self._size]
