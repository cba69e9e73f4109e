"""Define the limits of a reader, checked before it allocates memory, and those of the format (SPEC.md, section 7)."""

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

# A FLOOR, in bytes or nanoseconds of one core, is allowed for a file of any size (see budget.py).
HEADER_FLOOR, HEADER_EXPANSION = 1 << 18, 16
GRAPH_FLOOR, GRAPH_EXPANSION = 1 << 24, 256
META_FLOOR, META_EXPANSION = 1 << 20, 64
SECTION_FLOOR = 1 << 28
DECODED_FLOOR = 1 << 29
WORK_FLOOR = 5_000_000_000


@dataclass(frozen=True)
class Limits:
    """Upper bounds on the sizes in a file, in bytes; a reader refuses a file that is above them.

    header_bytes bounds the decoded header, blob_bytes the decoded graph and metadata, tensor_bytes one decoded tensor.
    expansion: decoded bytes per stored byte, of a section and of all tensors together; 256 and 512 MiB are always
    allowed, so that a large constant tensor isn't taken for an attack. work: nanoseconds of decoding per byte of the
    file; five seconds are always allowed. repeats: how often groups may be decoded, on average over their bytes, while
    all tensors are read in order; 256 MiB are always allowed.
    """

    header_bytes: int = 64 << 20
    blob_bytes: int = 1 << 30
    tensor_bytes: int = 1 << 40
    expansion: int = 1 << 12
    work: int = 200_000
    repeats: int = 4
