"""Write and read the first 32 bytes of a container: version, form of the header, size of the file (SPEC.md)."""

import struct
from dataclasses import dataclass

from qacomp.formats import limits as bounds
from qacomp.formats.checksums import crc32
from qacomp.formats.errors import (
    ChecksumMismatchError,
    HeaderError,
    LimitExceededError,
    NotAContainerError,
    TruncatedFileError,
    UnsupportedVersionError,
)
from qacomp.formats.ranges import Data
from qacomp.formats.records import AT_ONCE_FLAG, BLOCKS_FLAG, LEAVES_FLAG

MAGIC = b"\x93QAC"
VERSION = (1, 6)
PREFIX = struct.Struct("<4sBBBBIIQI")
PREFIX_BYTES = PREFIX.size + 4


@dataclass(frozen=True)
class FileKind:
    """A kind of file that begins with such a prefix. version: the newest that is known; flags: those that are."""

    name: str
    magic: bytes
    version: tuple[int, int]
    flags: int


CONTAINER = FileKind(".qac container", MAGIC, VERSION, BLOCKS_FLAG | AT_ONCE_FLAG | LEAVES_FLAG)
DELTA = FileKind(".qacd delta", b"\x93QAD", (1, 2), 0)


@dataclass(frozen=True)
class Prefix:
    """The fields of the first 32 bytes.

    stored_bytes and header_bytes: the header's size as stored and decoded; file_bytes: the size of the whole file.
    """

    version: tuple[int, int]
    header_codec: int
    stored_bytes: int
    header_bytes: int
    file_bytes: int
    header_crc: int
    flags: int = 0


def write_prefix(prefix: Prefix, kind: FileKind = CONTAINER) -> bytes:
    """Return the 32 bytes, which end with their own checksum."""
    fields = (
        prefix.header_codec,
        prefix.flags,
        prefix.stored_bytes,
        prefix.header_bytes,
        prefix.file_bytes,
        prefix.header_crc,
    )
    data = PREFIX.pack(kind.magic, *prefix.version, *fields)
    return data + struct.pack("<I", crc32(data))


def read_prefix(data: Data, source: str, limits: bounds.Limits, kind: FileKind = CONTAINER) -> Prefix:
    """Read and check the first 32 bytes of a file named `source`; raises a FormatError that names the file."""
    if len(data) < 4 or bytes(data[:4]) != kind.magic:
        if len(data) < 4 and kind.magic.startswith(bytes(data[:4])) and len(data):
            raise TruncatedFileError(f"{source}: only {len(data)} bytes; fetch the file again")
        raise NotAContainerError(f"{source}: not a {kind.name} (its first bytes are wrong); check the path")
    if len(data) > 4 and (major := bytes(data[4:5])[0]) != kind.version[0]:
        raise UnsupportedVersionError(
            f"{source}: format version {major}, this reader knows {kind.version[0]}; update qacomp"
        )
    if len(data) < PREFIX_BYTES:
        raise TruncatedFileError(f"{source}: ends inside its first {PREFIX_BYTES} bytes; fetch the file again")
    if struct.unpack("<I", data[PREFIX.size : PREFIX_BYTES])[0] != crc32(data[: PREFIX.size]):
        raise ChecksumMismatchError(f"{source}: the first {PREFIX_BYTES} bytes are damaged; fetch the file again")
    _, major, minor, codec, flags, stored, header, size, crc = PREFIX.unpack(data[: PREFIX.size])
    if flags & ~kind.flags:
        raise UnsupportedVersionError(f"{source}: uses features of a newer format version; update qacomp")
    if header > limits.header_bytes or stored > limits.header_bytes:
        size = max(header, stored)
        raise LimitExceededError(
            f"{source}: a header of {size} bytes is above the limit of {limits.header_bytes}; raise Limits.header_bytes"
            " if you trust the file"
        )
    if size < PREFIX_BYTES + stored:
        raise HeaderError(f"{source}: the header is larger than the file; the file is damaged")
    return Prefix((major, minor), codec, stored, header, size, crc, flags)
