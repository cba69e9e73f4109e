"""Compute the CRC-32 of sections and the BLAKE2b digest of decoded tensors."""

import hashlib
import zlib

import numpy as np
from numpy.typing import NDArray

DIGEST_BYTES = 4
"""Length of the writer's digests by default. A CRC protects the stored bytes, a digest the decoded values."""


def crc32(data: bytes | bytearray | memoryview) -> int:
    """Return the CRC-32 of the bytes (ISO-HDLC, the one of zlib)."""
    return zlib.crc32(data) & 0xFFFFFFFF


def tensor_digest(array: NDArray[np.generic], size: int = DIGEST_BYTES) -> bytes:
    """Return the BLAKE2b digest of `size` bytes over the array's little-endian row-major bytes, without its shape."""
    if size == 0:
        return b""
    flat = np.ascontiguousarray(array).reshape(-1)
    return hashlib.blake2b(flat.view(np.uint8).data, digest_size=size).digest()


class DigestStream:
    """Computes `tensor_digest` of a tensor that comes in parts."""

    def __init__(self, size: int) -> None:
        self._hash = hashlib.blake2b(digest_size=max(size, 1))
        self._size = size

    def update(self, part: NDArray[np.generic] | bytes) -> None:
        """Add the next part's little-endian row-major bytes."""
        if self._size:
            if isinstance(part, bytes):
                self._hash.update(part)
            else:
                flat = np.ascontiguousarray(part).reshape(-1)
                self._hash.update(flat.view(np.uint8).data)

    def digest(self) -> bytes:
        """Return the digest of all parts added so far."""
        return self._hash.digest()[: self._size]
