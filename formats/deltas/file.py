"""Write and read a .qacd file: what it starts from and what it makes, and a payload for each section that differs."""

import hashlib
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from qacomp.formats import limits as bounds
from qacomp.formats.budget import check_header
from qacomp.formats.bytestream import ByteReader, ByteWriter
from qacomp.formats.checksums import crc32
from qacomp.formats.encoding import blob
from qacomp.formats.errors import ChecksumMismatchError, FormatError, HeaderError, TruncatedFileError
from qacomp.formats.prefix import DELTA, PREFIX_BYTES, Prefix, read_prefix, write_prefix
from qacomp.formats.reader import decoded_header

REFERRED, WHOLE, DIFFERENCE = 0, 1, 2
"""Say how a section of the new container comes: as one of the base, as its stored bytes, or as a difference."""
FILE_DIGEST_BYTES = 32
_MOST_BYTES = 1 << 62


@dataclass(frozen=True)
class FileIdentity:
    """The size of a file in bytes, and its BLAKE2b digest of 32 bytes."""

    size: int
    digest: bytes


@dataclass(frozen=True)
class Step:
    """Say how a section of the new container comes. number: of the base's section, if REFERRED; payload: of others."""

    method: int
    number: int = 0
    payload: bytes | memoryview = b""


@dataclass(frozen=True)
class Delta:
    """A delta. head: prefix and stored header of the new container; steps: one for each of its sections, in order.

    left_out: names such as no-zstd, of codecs that the delta's own header isn't stored with; version: the lowest one
    that its differences need.
    """

    source: str
    base: FileIdentity
    new: FileIdentity
    head: bytes | memoryview
    steps: tuple[Step, ...]
    size: int = 0
    left_out: tuple[str, ...] = ()
    version: tuple[int, int] = (1, 0)


def identity(parts: Iterable[bytes | memoryview]) -> FileIdentity:
    """Return the identity of a file whose bytes come in parts."""
    size, digest = 0, hashlib.blake2b(digest_size=FILE_DIGEST_BYTES)
    for part in parts:
        size += len(part)
        digest.update(part)
    return FileIdentity(size, digest.digest())


def delta_chunks(delta: Delta) -> Iterator[bytes | memoryview]:
    """Yield the bytes of a delta file."""
    out = ByteWriter()
    for file in (delta.base, delta.new):
        out.uint(file.size)
        out.raw(file.digest)
    out.uint(len(delta.head))
    out.uint(len(delta.steps))
    own = [step for step in delta.steps if step.method != REFERRED]
    for step in delta.steps:
        out.uint(step.method)
    for step in delta.steps:
        if step.method == REFERRED:
            out.uint(step.number)
    for step in own:
        out.uint(len(step.payload))
    payloads = [delta.head, *(step.payload for step in own)]
    for payload in payloads:
        out.raw(struct.pack("<I", crc32(payload)))
    header = bytes(out.buffer)
    choice = blob(header, check_header, (), delta.left_out)
    size = PREFIX_BYTES + len(choice.payload) + sum(len(payload) for payload in payloads)
    crc = crc32(choice.payload)
    yield write_prefix(Prefix(delta.version, choice.codec.id, len(choice.payload), len(header), size, crc), DELTA)
    yield choice.payload
    yield from payloads


def read_delta(data: memoryview, source: str, limits: bounds.Limits | None = None) -> Delta:
    """Read a delta file named `source` and check all its checksums. Raises a FormatError that names the file."""
    try:
        return _read(data, source, limits or bounds.Limits())
    except FormatError as error:
        if str(error).startswith(source):
            raise
        raise type(error)(f"{source}: {error}") from error


def _read(data: memoryview, source: str, limits: bounds.Limits) -> Delta:
    prefix = read_prefix(data, source, limits, DELTA)
    if len(data) < prefix.file_bytes:
        raise TruncatedFileError(f"{len(data)} of {prefix.file_bytes} bytes; fetch the file again")
    if len(data) > prefix.file_bytes:
        raise HeaderError(f"{len(data) - prefix.file_bytes} bytes follow after its end; the file is damaged")
    end = PREFIX_BYTES + prefix.stored_bytes
    reader = ByteReader(decoded_header(source, prefix, data[PREFIX_BYTES:end]))
    base, new = _identity(reader), _identity(reader)
    head_bytes = reader.uint(len(data))
    count = reader.uint(min(bounds.MAX_SECTIONS, reader.rest()))
    methods = [reader.uint(DIFFERENCE) for _ in range(count)]
    numbers = iter([reader.uint(bounds.MAX_SECTIONS - 1) for method in methods if method == REFERRED])
    sizes = [head_bytes, *(reader.uint(len(data)) for method in methods if method != REFERRED)]
    crcs = struct.unpack(f"<{len(sizes)}I", reader.raw(4 * len(sizes)))
    reader.end()
    if end + sum(sizes) != len(data):
        raise HeaderError("its payloads don't end where the file does; it is damaged")
    payloads = _payloads(data[end:], sizes, crcs)
    head = next(payloads)
    steps = [Step(m, number=next(numbers)) if m == REFERRED else Step(m, payload=next(payloads)) for m in methods]
    return Delta(source, base, new, head, tuple(steps), len(data), version=prefix.version)


def _identity(reader: ByteReader) -> FileIdentity:
    return FileIdentity(reader.uint(_MOST_BYTES), bytes(reader.raw(FILE_DIGEST_BYTES)))


def _payloads(data: memoryview, sizes: Sequence[int], crcs: Sequence[int]) -> Iterator[memoryview]:
    start = 0
    for number, (size, crc) in enumerate(zip(sizes, crcs, strict=True)):
        payload = data[start : start + size]
        if crc32(payload) != crc:
            raise ChecksumMismatchError(f"payload {number} is damaged; fetch the file again")
        yield payload
        start += size
