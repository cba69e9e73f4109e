"""Write and read the header of format version 1: the records of all tensors and sections (SPEC.md, section 3)."""

import math
import struct
from collections.abc import Iterable, Sequence
from dataclasses import replace

from qacomp.formats import limits as bounds
from qacomp.formats.bytestream import ByteReader, ByteWriter
from qacomp.formats.dtypes import DTYPES, converts_exactly
from qacomp.formats.errors import HeaderError, LimitExceededError
from qacomp.formats.merkle import HASH_BYTES
from qacomp.formats.names import read_names, write_names
from qacomp.formats.records import (
    AT_ONCE_FLAG,
    BLOCKS_FLAG,
    INDEX_CHUNK,
    LEAVES_FLAG,
    META,
    SAME,
    SHARED,
    Header,
    SectionRecord,
    TensorRecord,
)


def write_header(header: Header) -> bytes:
    """Return the header's bytes as columns: one field of all tensors or sections after the other."""
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
        (t.book_group for t in shared),
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
    for section in sections if header.leaves else ():
        out.raw(section.leaf)
    for tensor in tensors:
        if tensor.kind != SAME:
            out.raw(tensor.digest)
    return bytes(out.buffer)


def read_header(data: bytes | memoryview, limits: bounds.Limits, flags: int = 0, newer: bool = False) -> Header:
    """Read a header; flags: those of the prefix; newer: the file's minor version is newer, so types may be unknown.

    Every count is checked against the bytes that are left before a list of that length is made. Raises HeaderError or
    LimitExceededError.
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
    book_groups = iter(column(shared_count, section_count))
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
    has_leaves = bool(flags & LEAVES_FLAG)
    leaves = [bytes(reader.raw(HASH_BYTES)) if has_leaves else b"" for _ in crcs]
    tensors: list[TensorRecord] = []
    for index, ((kind, dtype), name, shape) in enumerate(zip(kinds, names, shapes, strict=True)):
        record = TensorRecord(name, kind, dtype, stored[index], shape)
        if kind == SAME:
            record = _resolve(record, next(same), tensors)
        else:
            record = replace(record, group=next(groups), digest=bytes(reader.raw(digest_bytes)))
        if kind == SHARED:
            book, split, block, whole = next(books)
            record = replace(record, book_group=next(book_groups), levels=book, children=split)
            record = replace(record, blocks=block, at_once=whole)
        _check_tensor(record, limits)
        tensors.append(record)
    reader.end()
    fields = zip(section_kinds, codecs, section_levels, owners, sizes, crcs, counts, leaves, strict=True)
    sections = tuple(SectionRecord(*field) for field in fields)
    return Header(tuple(tensors), sections, digest_bytes, chunk_log2, has_leaves)


def _resolve(record: TensorRecord, target: int, tensors: Sequence[TensorRecord]) -> TensorRecord:
    if target >= len(tensors) or tensors[target].kind == SAME:
        raise HeaderError(
            f"tensor {record.name[:80]!r} refers to a tensor that doesn't come before it; the file is damaged"
        )
    other = tensors[target]
    if (other.shape, other.dtype, other.stored) != (record.shape, record.dtype, record.stored):
        name = record.name[:80]
        raise HeaderError(f"tensor {name!r} differs in shape or type from the one it repeats; the file is damaged")
    return replace(record, same_as=target, levels=other.levels, blocks=other.blocks, digest=other.digest)


def _check_tensor(record: TensorRecord, limits: bounds.Limits) -> None:
    name = record.name[:80]
    if record.nbytes > limits.tensor_bytes:
        raise LimitExceededError(
            f"tensor {name!r} of {record.nbytes} bytes is above the limit of {limits.tensor_bytes}; raise"
            " Limits.tensor_bytes if you trust the file"
        )
    if _spread(record.shape) > bounds.MAX_SPREAD:
        raise LimitExceededError(f"tensor {name!r} is empty, but has axes too long for any array; the file is hostile")
    if {record.dtype, record.stored} <= DTYPES.keys() and not converts_exactly(record.stored, record.dtype):
        raise HeaderError(
            f"tensor {name!r} is stored in an element type that its own can't hold exactly; the file is damaged"
        )
    if record.kind != SHARED:
        return
    if record.blocks is not None:
        _check_blocks(record, limits)
    if not record.levels or 0 in record.levels or not (record.book_group or record.blocks is not None):
        raise HeaderError(f"tensor {record.name[:80]!r} is shared but has no codebook; the file is damaged")
    for finer, split in zip(record.levels[1:], record.children, strict=True):
        if sum(split) != finer or 0 in split:
            raise HeaderError(f"tensor {record.name[:80]!r}: its levels don't nest; the file is damaged")


def _spread(shape: Sequence[int]) -> int:
    """Return the product of the sizes above zero, which bounds the axes of empty arrays too."""
    return math.prod(size for size in shape if size)


def _check_blocks(record: TensorRecord, limits: bounds.Limits) -> None:
    name, blocks = record.name[:80], record.blocks or ()
    fits = all(1 <= block <= max(size, 1) for block, size in zip(blocks, record.shape, strict=True))
    if not blocks or not fits or len(record.levels) != 1:
        raise HeaderError(f"tensor {name!r} has blocks that don't fit its shape and levels; the file is damaged")
    if _spread(record.books) * record.levels[0] > bounds.MAX_SPREAD:
        raise LimitExceededError(f"tensor {name!r} is empty, but has too many codebooks for any array; it is hostile")
    size = record.book_bytes
    if size > limits.tensor_bytes:
        raise LimitExceededError(
            f"tensor {name!r} has codebooks of {size} bytes, above the limit of {limits.tensor_bytes}; raise"
            " Limits.tensor_bytes if you trust the file"
        )
