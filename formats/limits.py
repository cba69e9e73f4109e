"""What a reader accepts before it allocates anything, and the format's own bounds (SPEC.md, section "Limits")."""

from dataclasses import dataclass

MAX_NAME_BYTES = 65_535
MAX_DIMS = 32
MAX_ALPHABET = 65_536
MAX_LEVELS = 16
MAX_LANES = 1 << 16
MAX_STEPS = 1 << 16
MAX_CONTEXT_CELLS = 1 << 20
MAX_TABLE_SLOTS = 1 << 22
MAX_GROUP_TENSORS = 1 << 12
MAX_TENSORS = 1 << 20
MAX_SECTIONS = 1 << 21
MAX_DIGEST_BYTES = 32
MAX_CHUNK_LOG2 = 30
ALIGNMENT = 64
ALIGNED_FROM = 4096


@dataclass(frozen=True)
class Limits:
    """Bounds that a reader holds every size in a file against, in bytes; a file beyond them is refused, not read.

    header_bytes bounds the decompressed header, blob_bytes the decompressed graph and metadata, tensor_bytes one
    decoded tensor, and expansion the decoded bytes of one coded section per stored byte (with a floor of 256 MiB, so
    that a constant tensor of reasonable size is no attack). repeats: how often groups may be decoded, in the mean over
    their bytes, while all tensors are read in order (with a floor of 1 GiB).
    """

    header_bytes: int = 64 << 20
    blob_bytes: int = 1 << 30
    tensor_bytes: int = 1 << 40
    expansion: int = 1 << 14
    repeats: int = 64
