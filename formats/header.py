"""The fixed prefix and the header of version 1: what tensors there are and where their bytes stand (SPEC.md)."""

import math
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from qacomp.formats import limits as bounds
from qacomp.formats.blocks import grid
from qacomp.formats.bytestream import ByteReader, ByteWriter
from qacomp.formats.checksums import crc32
from qacomp.formats.dtypes import DTYPES, itemsize_of
from qacomp.formats.errors import (
    ChecksumMismatchError,
    HeaderError,
    LimitExceededError,
    NotAContainerError,
    TruncatedFileError,
    UnsupportedVersionError,
)
from qacomp.formats.names import read_names, write_names

MAGIC = b"\x93QAC"
VERSION = (1, 1)
BLOCKS_FLAG, AT_ONCE_FLAG = 1, 2
"""The header has the columns of codebooks in blocks, of levels stored at once (both since version 1.1)."""
PREFIX = struct.Struct("<4sBBBBIIQI")
PREFIX_BYTES = PREFIX.size + 4

DENSE, SHARED, SAME = 0, 1, 2
GRAPH, META, VALUES, INDICES, VALUE_CHUNK, INDEX_CHUNK = range(6)
OWN_CHUNKS = 0


@dataclass(frozen=True)
class Prefix:
    """The first 32 bytes: version, how the header is stored, the size of the whole file."""

    version: tuple[int, int]
    header_codec: int
    stored_bytes: int
    header_bytes: int
    file_bytes: int
    header_crc: int
    flags: int = 0


@dataclass(frozen=True)
class TensorRecord:
    """One tensor: dtype is what a reader gets, stored what the file holds (of the codebook where it is shared).

    group: 0 for chunks of its own, else 1 + the number of the group whose section holds its values or indices;
    side_group: likewise for its codebooks; children: for each refinement, how many finer cells each coarse one has;
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
    side_group: int = OWN_CHUNKS
    levels: tuple[int, ...] = ()
    children: tuple[tuple[int, ...], ...] = ()
    same_as: int = 0
    digest: bytes = b""
    blocks: tuple[int, ...] | None = None
    at_once: bool = False

    @property
    def stored_levels(self) -> int:
        """Levels that index sections hold; 1 for a dense tensor."""
        return 1 if self.at_once else max(len(self.levels), 1)

    @property
    def books(self) -> tuple[int, ...]:
        """Codebooks along each axis; () for one."""
        return () if self.blocks is None else grid(self.shape, self.blocks)

    @property
    def count(self) -> int:
        """Values in the tensor."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the decoded tensor; at least so many where its element type isn't known."""
        return self.count * itemsize_of(self.dtype)


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
        """What a reader must know to read these records."""
        blocks = any(tensor.blocks is not None for tensor in self.tensors)
        return BLOCKS_FLAG * blocks | AT_ONCE_FLAG * any(tensor.at_once for tensor in self.tensors)

    @property
    def version(self) -> tuple[int, int]:
        """The lowest version that a reader needs."""
        return (1, 1) if self.flags else (1, 0)


def write_prefix(prefix: Prefix) -> bytes:
    """The 32 bytes, with their own checksum."""
    fields = (
        prefix.header_codec,
        prefix.flags,
        prefix.stored_bytes,
        prefix.header_bytes,
        prefix.file_bytes,
        prefix.header_crc,
    )
    data = PREFIX.pack(MAGIC, *prefix.version, *fields)
    return data + struct.pack("<I", crc32(data))


def read_prefix(data: memoryview, source: str, limits: bounds.Limits) -> Prefix:
    """Check and read the first 32 bytes of a file named `source`; raises the FormatError that fits."""
    if len(data) < 4 or bytes(data[:4]) != MAGIC:
        if len(data) < 4 and MAGIC.startswith(bytes(data)) and len(data):
            raise TruncatedFileError(f"{source}: only {len(data)} bytes; fetch the file again")
        raise NotAContainerError(f"{source}: not a .qac container (its first bytes are others)")
    if len(data) > 4 and data[4] != VERSION[0]:
        raise UnsupportedVersionError(
            f"{source}: format version {data[4]}, this reader knows {VERSION[0]}; update qacomp"
        )
    if len(data) < PREFIX_BYTES:
        raise TruncatedFileError(f"{source}: ends inside its first {PREFIX_BYTES} bytes; fetch the file again")
    if struct.unpack("<I", data[PREFIX.size : PREFIX_BYTES])[0] != crc32(data[: PREFIX.size]):
        raise ChecksumMismatchError(f"{source}: the first {PREFIX_BYTES} bytes are damaged; fetch the file again")
    _, major, minor, codec, flags, stored, header, size, crc = PREFIX.unpack(data[: PREFIX.size])
    if flags & ~(BLOCKS_FLAG | AT_ONCE_FLAG):
        raise UnsupportedVersionError(f"{source}: uses features of a newer format version; update qacomp")
    if header > limits.header_bytes or stored > limits.header_bytes:
        raise LimitExceededError(f"{source}: a header of {header} bytes is above the limit of {limits.header_bytes}")
    if size < PREFIX_BYTES + stored:
        raise HeaderError(f"{source}: the header is larger than the file; the file is damaged")
    return Prefix((major, minor), codec, stored, header, size, crc, flags)


def write_header(header: Header) -> bytes:
    """The header's bytes, field by field over all tensors and sections, so that like stands beside like."""
    out, tensors, sections = ByteWriter(), header.tensors, header.sections
    for number in (len(tensors), len(sections), header.digest_bytes, header.chunk_log2):
        out.uint(number)
    write_names(out, [tensor.name.encode() for tensor in tensors])
    shared = [tensor for tensor in tensors if tensor.kind == SHARED]
    blocked = shared if header.flags & BLOCKS_FLAG else []
    nested = [t for t in shared if len(t.levels) > 1] if header.flags & AT_ONCE_FLAG else []
    columns: Iterable[Iterable[int]] = (
        (t.kind << 4 | t.dtype for t in tensors),
        (t.stored for t in tensors),
        (len(t.shape) for t in tensors),
        (size for t in tensors for size in t.shape),
        (t.group for t in tensors if t.kind != SAME),
        (t.side_group for t in shared),
        (len(t.levels) for t in shared),
        (size for t in shared for size in t.levels),
        (size for t in shared for level in t.children for size in level),
        (int(t.blocks is not None) for t in blocked),
        (size for t in blocked for size in t.blocks or ()),
        (int(t.at_once) for t in nested),
        (t.same_as for t in tensors if t.kind == SAME),
        (s.kind for s in sections),
        (s.codec for s in sections),
        (s.level for s in sections),
        (s.owner for s in sections),
        (s.stored_bytes for s in sections),
        (s.count for s in sections if s.kind <= META),
    )
    for column in columns:
        for number in column:
            out.uint(number)
    for section in sections:
        out.raw(struct.pack("<I", section.crc))
    for tensor in tensors:
        if tensor.kind != SAME:
            out.raw(tensor.digest)
    return bytes(out.buffer)


def read_header(data: bytes | memoryview, limits: bounds.Limits, flags: int = 0, newer: bool = False) -> Header:
    """The inverse, given the prefix's flags; newer: the minor version is above VERSION's, so types may be unknown.

    Every count is held against the bytes that are left before a list of it is made.
    """
    reader = ByteReader(data)
    tensor_count = reader.uint(min(bounds.MAX_TENSORS, len(data)))
    section_count = reader.uint(min(bounds.MAX_SECTIONS, len(data)))
    digest_bytes, chunk_log2 = reader.uint(bounds.MAX_DIGEST_BYTES), reader.uint(bounds.MAX_CHUNK_LOG2)
    names = read_names(reader, tensor_count, limits)

    def column(count: int, limit: int) -> list[int]:
        return [reader.uint(limit) for _ in range(count)]

    kinds = [(number >> 4, number & 15) for number in column(tensor_count, SAME << 4 | 15)]
    stored = column(tensor_count, 15)
    unknown = {*stored, *(dtype for _, dtype in kinds)} - DTYPES.keys()
    if unknown and not newer:
        raise HeaderError(f"its version has no element type {min(unknown)}; the file is damaged")
    dims = column(tensor_count, bounds.MAX_DIMS)
    shapes = [tuple(column(dim, 1 << 48)) for dim in dims]
    content = [kind for kind, _ in kinds if kind != SAME]
    groups = iter(column(len(content), section_count))
    shared_count = content.count(SHARED)
    side_groups = iter(column(shared_count, section_count))
    level_counts = column(shared_count, bounds.MAX_LEVELS)
    levels = [tuple(column(count, bounds.MAX_ALPHABET)) for count in level_counts]
    children = [tuple(tuple(column(size, bounds.MAX_ALPHABET)) for size in sizes[:-1]) for sizes in levels]
    blocked = column(shared_count, 1) if flags & BLOCKS_FLAG else [0] * shared_count
    shared_dims = [dim for dim, (kind, _) in zip(dims, kinds, strict=True) if kind == SHARED]
    blocks = [tuple(column(dim, 1 << 48)) if b else None for b, dim in zip(blocked, shared_dims, strict=True)]
    nested = [len(sizes) > 1 and bool(flags & AT_ONCE_FLAG) for sizes in levels]
    at_once = [bool(reader.uint(1)) if several else False for several in nested]
    books = iter(zip(levels, children, blocks, at_once, strict=True))
    same = iter(column(tensor_count - len(content), tensor_count))
    section_kinds = column(section_count, INDEX_CHUNK)
    codecs, section_levels = column(section_count, 255), column(section_count, bounds.MAX_LEVELS - 1)
    owners = column(section_count, max(tensor_count, section_count))
    sizes = column(section_count, 1 << 62)
    counts = [reader.uint(limits.blob_bytes) if kind <= META else 0 for kind in section_kinds]
    crcs = struct.unpack(f"<{section_count}I", reader.raw(4 * section_count))
    tensors: list[TensorRecord] = []
    for index, ((kind, dtype), name, shape) in enumerate(zip(kinds, names, shapes, strict=True)):
        record = TensorRecord(name, kind, dtype, stored[index], shape)
        if kind == SAME:
            record = _resolve(record, next(same), tensors)
        else:
            record = replace(record, group=next(groups), digest=bytes(reader.raw(digest_bytes)))
        if kind == SHARED:
            book, split, block, whole = next(books)
            record = replace(record, side_group=next(side_groups), levels=book, children=split)
            record = replace(record, blocks=block, at_once=whole)
        _check_tensor(record, limits)
        tensors.append(record)
    reader.end()
    fields = zip(section_kinds, codecs, section_levels, owners, sizes, crcs, counts, strict=True)
    return Header(tuple(tensors), tuple(SectionRecord(*field) for field in fields), digest_bytes, chunk_log2)


def _resolve(record: TensorRecord, target: int, tensors: Sequence[TensorRecord]) -> TensorRecord:
    if target >= len(tensors) or tensors[target].kind == SAME:
        raise HeaderError(
            f"tensor {record.name[:80]!r} refers to one that doesn't stand before it; the file is damaged"
        )
    other = tensors[target]
    if (other.shape, other.dtype, other.stored) != (record.shape, record.dtype, record.stored):
        raise HeaderError(f"tensor {record.name[:80]!r} differs from the one it refers to; the file is damaged")
    return replace(record, same_as=target, levels=other.levels, blocks=other.blocks, digest=other.digest)


def _check_tensor(record: TensorRecord, limits: bounds.Limits) -> None:
    if record.nbytes > limits.tensor_bytes:
        name = record.name[:80]
        raise LimitExceededError(
            f"tensor {name!r} of {record.nbytes} bytes is above the limit of {limits.tensor_bytes}"
        )
    if record.kind != SHARED:
        return
    if record.blocks is not None:
        _check_blocks(record, limits)
    if not record.levels or 0 in record.levels or not (record.side_group or record.blocks is not None):
        raise HeaderError(f"tensor {record.name[:80]!r} is shared but has no codebook; the file is damaged")
    for finer, split in zip(record.levels[1:], record.children, strict=True):
        if sum(split) != finer or 0 in split:
            raise HeaderError(f"tensor {record.name[:80]!r}: its levels don't nest; the file is damaged")


def _check_blocks(record: TensorRecord, limits: bounds.Limits) -> None:
    name, blocks = record.name[:80], record.blocks or ()
    fits = all(1 <= block <= max(size, 1) for block, size in zip(blocks, record.shape, strict=True))
    if not blocks or not fits or len(record.levels) != 1:
        raise HeaderError(f"tensor {name!r} has codebooks in impossible blocks; the file is damaged")
    size = math.prod(record.books) * record.levels[0] * itemsize_of(record.dtype)
    if size > limits.tensor_bytes:
        raise LimitExceededError(
            f"tensor {name!r} has codebooks of {size} bytes, above the limit of {limits.tensor_bytes}"
        )
