"""Write and read tensor names: each as the length of the prefix it shares with the name before, and the rest."""

from collections.abc import Sequence

from qacomp.formats import limits as bounds
from qacomp.formats.bytestream import ByteReader, ByteWriter
from qacomp.formats.errors import HeaderError, LimitExceededError


def write_names(out: ByteWriter, names: Sequence[bytes]) -> None:
    """Write UTF-8 names in the given order, each as the length of the prefix shared with the last, and the rest."""
    common = [_common(a, b) for a, b in zip([b"", *names], names, strict=False)]
    for number in common:
        out.uint(number)
    for name, start in zip(names, common, strict=True):
        out.uint(len(name) - start)
    for name, start in zip(names, common, strict=True):
        out.raw(name[start:])


def read_names(reader: ByteReader, count: int, limits: bounds.Limits) -> list[str]:
    """Read `count` names; raises HeaderError, and LimitExceededError if all together are above limits.header_bytes."""
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
            raise LimitExceededError(
                f"the tensors' names take more than {limits.header_bytes} bytes; if you trust the file, raise"
                " Limits.header_bytes"
            )
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
