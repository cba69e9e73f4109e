"""Tensor names in the header: each as the bytes it shares with the front of the one before, and the rest."""

from collections.abc import Sequence

from qacomp.formats import limits as bounds
from qacomp.formats.bytestream import ByteReader, ByteWriter
from qacomp.formats.errors import HeaderError, LimitExceededError


def write_names(out: ByteWriter, names: Sequence[bytes]) -> None:
    """Write names in the writer's order, each as the bytes it shares with the one before, and the rest."""
    common = [_common(a, b) for a, b in zip([b"", *names], names, strict=False)]
    for number in common:
        out.uint(number)
    for name, start in zip(names, common, strict=True):
        out.uint(len(name) - start)
    for name, start in zip(names, common, strict=True):
        out.raw(name[start:])


def read_names(reader: ByteReader, count: int, limits: bounds.Limits) -> list[str]:
    """Read names; raises HeaderError, or LimitExceededError for names that take more than the header may."""
    common = [reader.uint(bounds.MAX_NAME_BYTES) for _ in range(count)]
    lengths = [reader.uint(bounds.MAX_NAME_BYTES) for _ in range(count)]
    if sum(lengths) > reader.rest():
        raise HeaderError("the tensors' names are longer than the header; the file is damaged")
    names, name, total = [], b"", 0
    for start, length in zip(common, lengths, strict=True):
        if start > len(name) or start + length > bounds.MAX_NAME_BYTES:
            raise HeaderError("a tensor's name is too long; the file is damaged")
        total += start + length
        if total > limits.header_bytes:
            raise LimitExceededError(f"the tensors' names take more than the limit of {limits.header_bytes} bytes")
        name = name[:start] + bytes(reader.raw(length))
        names.append(name)
    try:
        texts = [name.decode() for name in names]
    except UnicodeDecodeError as error:
        raise HeaderError("a tensor's name isn't UTF-8; the file is damaged") from error
    if len(set(texts)) != len(texts):
        raise HeaderError("two tensors have the same name; the file is damaged")
    return texts


def _common(a: bytes, b: bytes) -> int:
    limit = min(len(a), len(b))
    return next((i for i in range(limit) if a[i] != b[i]), limit)
