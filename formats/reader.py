"""Open a container: read and check the prefix and the header; tensors are read when they are requested."""

import mmap
import os
from functools import partial
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from qacomp.formats.budget import check_header
from qacomp.formats.checksums import crc32
from qacomp.formats.codecs import PRIVATE, Stream, codec_of, load_installed
from qacomp.formats.container import Access, Container
from qacomp.formats.errors import ChecksumMismatchError, FormatError, HeaderError, TruncatedFileError
from qacomp.formats.header import read_header
from qacomp.formats.limits import Limits
from qacomp.formats.merkle import check_root, leaf_hash, parse_root
from qacomp.formats.prefix import PREFIX_BYTES, VERSION, Prefix, read_prefix
from qacomp.formats.ranges import Data, Ranges, RangeSource
from qacomp.formats.regular import open_regular
from qacomp.formats.report import VerifyReport
from qacomp.formats.shard_index import is_shard_index, read_shard_index
from qacomp.formats.sharded import ShardedContainer


def open_file(
    path: str | os.PathLike[str] | bytes | bytearray | memoryview | RangeSource,
    *,
    limits: Limits | None = None,
    verify: bool = True,
    allow_truncated: bool = False,
    threads: int = 1,
    root: str | None = None,
) -> Container:
    """Open a container, given its path (the file is mapped into memory) or its bytes; tensors are decoded on request.

    A RangeSource is read by ranges, as they are needed. The path may be that of an index, NAME.qac.index.json; its
    shards are then read as one container.

    limits: see Limits; verify: check each section's checksum when it is first read; allow_truncated: accept a file that
    is cut off after a complete level, which `tensor` then returns; threads: number of processes that decode a large
    tensor's chunks; root: the root that the file must have, as `Container.root` gives it: all bytes that are used are
    then checked against it. Raises a FormatError, IrregularFileError for a path that isn't a regular file, and OSError.
    """
    if isinstance(path, str | os.PathLike) and is_shard_index(path):
        index = Path(path)
        open_one = partial(open_file, limits=limits, verify=verify or root is not None, threads=threads)
        return ShardedContainer(index, read_shard_index(index), open_one, root=root)
    mapped = None
    data: Data
    if isinstance(path, bytes | bytearray | memoryview):
        source, data = "container", memoryview(path)
    elif not isinstance(path, str | os.PathLike):
        source, data = path.name, Ranges(path)
    else:
        source = str(Path(path))
        with open_regular(path) as stream:
            size = os.fstat(stream.fileno()).st_size
            try:
                mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) if size else None
            except OSError as error:  # the system's error about a mapping doesn't name the file
                raise OSError(error.errno, error.strerror, source) from error
        data = memoryview(mapped or b"")
    try:
        access = Access(
            limits or Limits(), verify or root is not None, threads, None if root is None else parse_root(root)
        )
        container = parse(source, data, access, allow_truncated)
    except FormatError as error:
        if source not in str(error):
            raise type(error)(f"{source}: {error}") from error
        raise
    if mapped is not None:
        container.keep(mapped)
    return container


def parse(source: str, data: Data, access: Access, allow_truncated: bool = False) -> Container:
    """Read and check prefix and header of a container named `source`. Raises a FormatError."""
    load_installed()  # codecs of installed packages, whether this file uses one or not
    prefix = read_prefix(data, source, access.limits)
    if len(data) > prefix.file_bytes:
        raise HeaderError(f"{source}: {len(data) - prefix.file_bytes} bytes follow after its end; the file is damaged")
    end = PREFIX_BYTES + prefix.stored_bytes
    if len(data) < end or (len(data) < prefix.file_bytes and not allow_truncated):
        then = "fetch the file again, or decode its complete levels with --allow-truncated"
        then = then if len(data) >= end else "fetch the file again"
        raise TruncatedFileError(f"{source}: {len(data)} of {prefix.file_bytes} bytes; {then}")
    stored = data[PREFIX_BYTES:end]
    raw = decoded_header(source, prefix, stored)
    header = read_header(raw, access.limits, prefix.flags, newer=prefix.version > VERSION)
    head = leaf_hash(data[:PREFIX_BYTES], stored)
    container = Container(source, data, prefix, header, access, head)
    if container.end != prefix.file_bytes:
        raise HeaderError(f"{source}: its sections end at {container.end}, not where the file does; it is damaged")
    if container.level < 0:
        raise TruncatedFileError(f"{source}: is cut off before the end of its coarsest level; fetch the file again")
    if access.root is not None:
        check_root(source, bytes.fromhex(container.root), access.root)
    return container


def decoded_header(source: str, prefix: Prefix, stored: memoryview) -> bytes:
    """Check a stored header against its prefix and decode it. Raises a FormatError."""
    if crc32(stored) != prefix.header_crc:
        raise ChecksumMismatchError(f"{source}: the header is damaged; fetch the file again")
    check_header(prefix.stored_bytes, prefix.header_bytes)
    codec = codec_of(prefix.header_codec)
    if "values" not in codec.kinds or codec.id >= PRIVATE:
        raise HeaderError(f"{source}: its header is stored with a codec that isn't for headers; the file is damaged")
    return codec.decode(stored, [Stream("values", prefix.header_bytes)])[0].tobytes()


def load_file(
    path: str | os.PathLike[str] | bytes, *, limits: Limits | None = None, threads: int = 1
) -> dict[str, NDArray[Any]]:
    """Read all tensors of a container as dense arrays, by name. Raises as `open_file` does."""
    with open_file(path, limits=limits, threads=threads) as container:
        container.read_ahead()
        return {name: container.tensor(name) for name in container.names}


def verify_file(
    path: str | os.PathLike[str] | bytes | RangeSource, *, limits: Limits | None = None, threads: int = 1
) -> VerifyReport:
    """Check a whole file: its structure, every checksum and every tensor's digest. Raises as `open_file` does."""
    with open_file(path, limits=limits, threads=threads) as container:
        return container.check()
