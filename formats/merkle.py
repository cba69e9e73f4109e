"""Compute the root of a container: one hash that binds all its bytes, over a leaf for each part (SPEC.md, section 13).

The tree is that of RFC 9162 (section 2.1) with SHA-256. Leaves and nodes are hashed after another byte, so that neither
passes for the other.
"""

import hashlib
from collections.abc import Sequence

from qacomp.formats.errors import ChecksumMismatchError

HASH_BYTES = 32
_LEAF, _NODE = b"\x00", b"\x01"


def leaf_hash(*parts: bytes | memoryview) -> bytes:
    """Return the leaf hash, 32 bytes, of an entry that comes in parts."""
    digest = hashlib.sha256(_LEAF)
    for part in parts:
        digest.update(part)
    return digest.digest()


def root_of(leaves: Sequence[bytes]) -> bytes:
    """Return the root over one leaf hash or more: neighbours are joined in pairs, a last one without pair moves up."""
    nodes = list(leaves)
    while len(nodes) > 1:
        joined = [hashlib.sha256(_NODE + a + b).digest() for a, b in zip(nodes[::2], nodes[1::2], strict=False)]
        nodes = joined + nodes[len(joined) * 2 :]
    return nodes[0]


def parse_root(text: str) -> bytes:
    """Return a root that a caller gives in hex. Raises ValueError."""
    try:
        root = bytes.fromhex(text)
    except ValueError:
        root = b""
    if len(root) != HASH_BYTES:
        raise ValueError(f"a root is {2 * HASH_BYTES} hex digits, as `qacomp inspect` prints it")
    return root


def check_root(source: str, found: bytes, wanted: bytes) -> None:
    """Raise ChecksumMismatchError unless a file has the root that its reader expects."""
    if found != wanted:
        raise ChecksumMismatchError(
            f"{source}: its root is {found.hex()}, not {wanted.hex()}: it isn't the file that you expect, or it was"
            " changed; fetch it from a place that you trust"
        )
