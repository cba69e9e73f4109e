"""Builds hostile files whose checksums are right: a header of one's own, in front of one's own payloads."""

import struct
import zlib

from qacomp.formats.header import read_header
from qacomp.formats.limits import Limits
from qacomp.formats.prefix import PREFIX, PREFIX_BYTES, VERSION, Prefix, read_prefix, write_prefix
from qacomp.formats.records import Header


def container(
    header: bytes, payloads: bytes = b"", *, size: int | None = None, codec: int = 0, raw: int = -1, flags: int = 0
) -> bytes:
    """A file around these header bytes (stored with `codec`, said to be `raw` bytes long) and payloads."""
    total = PREFIX_BYTES + len(header) + len(payloads)
    prefix = Prefix(
        VERSION,
        codec,
        len(header),
        len(header) if raw < 0 else raw,
        total if size is None else size,
        zlib.crc32(header),
        flags,
    )
    return write_prefix(prefix) + header + payloads


def with_prefix(data: bytes, **fields: int) -> bytes:
    """The same file with other fields in its prefix, checksum made right."""
    names = ("magic", "major", "minor", "codec", "flags", "stored", "raw", "size", "crc")
    values = dict(zip(names, PREFIX.unpack(data[: PREFIX.size]), strict=True)) | fields
    packed = PREFIX.pack(*values.values())
    return packed + struct.pack("<I", zlib.crc32(packed)) + data[PREFIX_BYTES:]


def parts(data: bytes) -> tuple[Header, bytes]:
    """The records of a file whose header is stored raw or compressed, and the bytes behind its header."""
    from qacomp.formats.codecs import Stream, codec_of

    prefix = read_prefix(memoryview(data), "test", Limits())
    end = PREFIX_BYTES + prefix.stored_bytes
    stored = memoryview(data)[PREFIX_BYTES:end]
    raw = codec_of(prefix.header_codec).decode(stored, [Stream("values", prefix.header_bytes)])[0]
    return read_header(raw.tobytes(), Limits(), prefix.flags), data[end:]
