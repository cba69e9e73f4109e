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
MAX_SPREAD = 1 << 59
ALIGNMENT = 64
ALIGNED_FROM = 4096

# What is allowed whatever a file's size, in bytes or nanoseconds of one core: see budget.py.
HEADER_FLOOR, HEADER_EXPANSION = 1 << 18, 16
GRAPH_FLOOR, GRAPH_EXPANSION = 1 << 24, 256
META_FLOOR, META_EXPANSION = 1 << 20, 64
SECTION_FLOOR = 1 << 28
DECODED_FLOOR = 1 << 29
WORK_FLOOR = 5_000_000_000


@dataclass(frozen=True)
class Limits:
    """Bounds that a reader holds every size in a file against, in bytes; a file beyond them is refused, not read.

    header_bytes bounds the decompressed header, blob_bytes the decompressed graph and metadata, tensor_bytes one
    decoded tensor. expansion: decoded bytes, of a section and of all tensors together, per stored byte (with floors of
    256 and 512 MiB, so that a constant tensor of reasonable size is no attack). work: nanoseconds of decoding per byte
    of the file, with a floor of five seconds. repeats: how often groups may be decoded, in the mean over their bytes,
    while all tensors are read in order (with a floor of 256 MiB).
    """

    header_bytes: int = 64 << 20
    blob_bytes: int = 1 << 30
    tensor_bytes: int = 1 << 40
    expansion: int = 1 << 12
    work: int = 200_000
    repeats: int = 4
