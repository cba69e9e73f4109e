"""Atheris target: any bytes as a container, once as they are and once with every checksum made right."""

import struct
import sys
import zlib

import atheris

with atheris.instrument_imports(include=["qacomp.formats"]):
    from qacomp.formats import FormatError, Limits, open_file
    from qacomp.formats.prefix import PREFIX_BYTES, VERSION, Prefix, write_prefix

LIMITS = Limits(header_bytes=1 << 20, blob_bytes=1 << 20, tensor_bytes=1 << 22)


def read(data: bytes, verify: bool) -> None:
    """Everything that a reader can do with a file."""
    try:
        with open_file(data, limits=LIMITS, verify=verify, allow_truncated=True) as container:
            _ = container.sections, container.meta, container.graph()
            for name in container.names:
                container.info(name)
                container.tensor(name)
    except FormatError:
        return


def resigned(data: bytes) -> bytes:
    """The bytes with a valid prefix and header checksum, so that the fuzzer gets behind them."""
    if len(data) <= PREFIX_BYTES:
        return data
    stored = min(struct.unpack("<I", data[8:12])[0], len(data) - PREFIX_BYTES)
    body = data[PREFIX_BYTES:]
    raw = struct.unpack("<I", data[12:16])[0] % (1 << 20)
    codec = data[6] if data[6] in (0, 6, 7) else 0
    if codec == 0:
        raw = stored
    prefix = Prefix(VERSION, codec, stored, raw, len(data), zlib.crc32(body[:stored]), data[7] & 7)
    return write_prefix(prefix) + body


def one(data: bytes) -> None:
    """What atheris calls."""
    read(data, verify=True)
    read(resigned(data), verify=False)


if __name__ == "__main__":
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
