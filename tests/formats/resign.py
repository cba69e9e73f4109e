"""Builds hostile files whose checksums are right: a header of one's own, in front of one's own payloads."""

import struct
import zlib

from qacomp.formats import header as h
from qacomp.formats.limits import Limits


def container(
    header: bytes, payloads: bytes = b"", *, size: int | None = None, codec: int = 0, raw: int = -1, flags: int = 0
) -> bytes:
    """A file around these header bytes (stored with `codec`, said to be `raw` bytes long) and payloads."""
    total = h.PREFIX_BYTES + len(header) + len(payloads)
    prefix = h.Prefix(
        h.VERSION,
        codec,
        len(header),
        len(header) if raw < 0 else raw,
        total if size is None else size,
        zlib.crc32(header),
        flags,
    )
    return h.write_prefix(prefix) + header + payloads


def with_prefix(data: bytes, **fields: int) -> bytes:
    """The same file with other fields in its prefix, checksum made right."""
    names = ("magic", "major", "minor", "codec", "flags", "stored", "raw", "size", "crc")
    values = dict(zip(names, h.PREFIX.unpack(data[: h.PREFIX.size]), strict=True)) | fields
    packed = h.PREFIX.pack(*values.values())
    return packed + struct.pack("<I", zlib.crc32(packed)) + data[h.PREFIX_BYTES :]


def parts(data: bytes) -> tuple[h.Header, bytes]:
    """The records of a file whose header is stored raw or compressed, and the bytes behind its header."""
    from qacomp.formats.codecs import Stream, codec_of

    prefix = h.read_prefix(memoryview(data), "test", Limits())
    end = h.PREFIX_BYTES + prefix.stored_bytes
    stored = memoryview(data)[h.PREFIX_BYTES : end]
    raw = codec_of(prefix.header_codec).decode(stored, [Stream("values", prefix.header_bytes)])[0]
    return h.read_header(raw.tobytes(), Limits(), prefix.flags), data[end:]
