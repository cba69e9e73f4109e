"""Define the records that a header holds: one for each tensor and one for each section."""

import math
from dataclasses import dataclass

from qacomp.formats.blocks import grid
from qacomp.formats.codecs.base import CODECS
from qacomp.formats.dtypes import itemsize_of

DENSE, SHARED, SAME = 0, 1, 2
GRAPH, META, VALUES, INDICES, VALUE_CHUNK, INDEX_CHUNK = range(6)
OWN_CHUNKS = 0
BLOCKS_FLAG, AT_ONCE_FLAG, LEAVES_FLAG = 1, 2, 4
"""Flags of a header with the columns for codebooks in blocks, levels at once (both since 1.1), leaf hashes (1.4)."""


@dataclass(frozen=True)
class TensorRecord:
    """One tensor of the header.

    kind: DENSE, SHARED or SAME; dtype: id of the element type that a reader returns; stored: id of the element type in
    the file (of the codebook, if the tensor is shared); group: 0 if the tensor has chunks of its own, else 1 + the
    number of the group that holds its values or indices; book_group: the same for its codebooks; levels: codebook
    sizes, the coarsest first; children: for each level but the finest, how many finer entries each entry has; same_as:
    for SAME, the number of the earlier tensor with the same content; digest: of the decoded tensor; blocks: the block
    shape of the codebooks (see blocks.py), or None for one codebook; at_once: only the finest indices are stored, at
    level 0, and the coarser ones follow from them.
    """

    name: str
    kind: int
    dtype: int
    stored: int
    shape: tuple[int, ...]
    group: int = OWN_CHUNKS
    book_group: int = OWN_CHUNKS
    levels: tuple[int, ...] = ()
    children: tuple[tuple[int, ...], ...] = ()
    same_as: int = 0
    digest: bytes = b""
    blocks: tuple[int, ...] | None = None
    at_once: bool = False

    @property
    def stored_levels(self) -> int:
        """Return the number of levels that have sections: 1 for a dense tensor and for levels at once."""
        return 1 if self.at_once else max(len(self.levels), 1)

    @property
    def books(self) -> tuple[int, ...]:
        """Return the number of codebooks along each axis; () for a single codebook."""
        return () if self.blocks is None else grid(self.shape, self.blocks)

    @property
    def count(self) -> int:
        """Return the number of values of the tensor."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Return the bytes of the decoded tensor; a lower bound if its element type is unknown."""
        return self.count * itemsize_of(self.dtype)

    @property
    def book_bytes(self) -> int:
        """Return the bytes of all decoded codebooks of a shared tensor; 0 for any other tensor."""
        if self.kind != SHARED:
            return 0
        return math.prod(self.books) * sum(self.levels) * itemsize_of(self.dtype)


@dataclass(frozen=True)
class SectionRecord:
    """One section of the file. owner: number of the group or of a chunk's tensor; count: decoded bytes of a blob.

    A blob is the graph or the metadata; count is 0 for other sections. leaf: leaf hash of its stored bytes, b"" if it
    isn't known.
    """

    kind: int
    codec: int
    level: int
    owner: int
    stored_bytes: int
    crc: int
    count: int = 0
    leaf: bytes = b""


@dataclass(frozen=True)
class Header:
    """All records of a header: tensors in the order in which they were written, sections in the order of the file.

    leaves: whether the header holds the leaf hashes of the sections, so that each is verified against the root.
    """

    tensors: tuple[TensorRecord, ...]
    sections: tuple[SectionRecord, ...]
    digest_bytes: int
    chunk_log2: int
    leaves: bool = False

    @property
    def flags(self) -> int:
        """Return the flags of the prefix: the features that a reader must know to read these records."""
        blocks = any(tensor.blocks is not None for tensor in self.tensors)
        at_once = any(tensor.at_once for tensor in self.tensors)
        return BLOCKS_FLAG * blocks | AT_ONCE_FLAG * at_once | LEAVES_FLAG * self.leaves

    @property
    def version(self) -> tuple[int, int]:
        """Return the lowest format version, (major, minor), that can hold these records."""
        codecs = [CODECS[s.codec].since for s in self.sections if s.codec in CODECS]
        return 1, max([int(self.flags > 0), 4 * self.leaves, *codecs])
