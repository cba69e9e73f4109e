"""What the header records of each tensor and of each run of bytes."""

import math
from dataclasses import dataclass

from qacomp.formats.blocks import grid
from qacomp.formats.codecs.base import CODECS
from qacomp.formats.dtypes import itemsize_of

DENSE, SHARED, SAME = 0, 1, 2
GRAPH, META, VALUES, INDICES, VALUE_CHUNK, INDEX_CHUNK = range(6)
OWN_CHUNKS = 0
BLOCKS_FLAG, AT_ONCE_FLAG = 1, 2
"""The header has the columns of codebooks in blocks, of levels stored at once (both since version 1.1)."""


@dataclass(frozen=True)
class TensorRecord:
    """One tensor: dtype is what a reader gets, stored what the file holds (of the codebook where it is shared).

    group: 0 for chunks of its own, else 1 + the number of the group whose section holds its values or indices;
    book_group: likewise for its codebooks; children: for each refinement, how many finer cells each coarse one has;
    same_as: the earlier tensor whose content this is; levels: codebook sizes, the coarsest first; blocks: the block
    shape of the codebooks (see blocks.py), or None for one codebook; at_once: its finest indices stand at level 0, and
    coarser ones follow from them.
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
        """Return how many levels index sections hold; 1 for a dense tensor."""
        return 1 if self.at_once else max(len(self.levels), 1)

    @property
    def books(self) -> tuple[int, ...]:
        """Return the codebooks along each axis; () for one."""
        return () if self.blocks is None else grid(self.shape, self.blocks)

    @property
    def count(self) -> int:
        """Return how many values the tensor has."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Return the bytes of the decoded tensor; the least possible where its element type isn't known."""
        return self.count * itemsize_of(self.dtype)

    @property
    def book_bytes(self) -> int:
        """Return the bytes of all decoded codebooks of a shared tensor; 0 for others."""
        if self.kind != SHARED:
            return 0
        return math.prod(self.books) * sum(self.levels) * itemsize_of(self.dtype)


@dataclass(frozen=True)
class SectionRecord:
    """One run of bytes under one checksum. owner: the group, or a chunk's tensor; count: decoded bytes of a blob."""

    kind: int
    codec: int
    level: int
    owner: int
    stored_bytes: int
    crc: int
    count: int = 0


@dataclass(frozen=True)
class Header:
    """All records; tensors in the writer's order, sections in the file's."""

    tensors: tuple[TensorRecord, ...]
    sections: tuple[SectionRecord, ...]
    digest_bytes: int
    chunk_log2: int

    @property
    def flags(self) -> int:
        """Return what a reader must know to read these records."""
        blocks = any(tensor.blocks is not None for tensor in self.tensors)
        return BLOCKS_FLAG * blocks | AT_ONCE_FLAG * any(tensor.at_once for tensor in self.tensors)

    @property
    def version(self) -> tuple[int, int]:
        """Return the lowest version that a reader needs."""
        codecs = [CODECS[s.codec].since for s in self.sections if s.codec in CODECS]
        return 1, max([int(self.flags > 0), *codecs])
