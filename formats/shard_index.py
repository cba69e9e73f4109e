"""Read and write the index of a container in several files, its shards (SPEC.md, section 11)."""

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from qacomp.formats.errors import FormatError, HeaderError, LimitExceededError
from qacomp.formats.limits import MAX_TENSORS
from qacomp.formats.merkle import leaf_hash, parse_root, root_of
from qacomp.formats.metadata import read_metadata, write_metadata
from qacomp.formats.regular import read_small

SUFFIX = ".qac.index.json"
KIND = "qacomp shards"
INDEX_START = b'{"format":"qacomp shards"'
"""The first bytes of every index, since its keys are sorted."""
LARGEST_INDEX = 64 << 20  # bytes of an index
MOST_SHARDS = 10_000


@dataclass(frozen=True)
class Shard:
    """One file of a container. file: its name, beside the index; bytes: its size; crc32: of its stored header.

    root: that it must have, in hex; None in an index that an older version wrote.
    """

    file: str
    bytes: int
    crc32: int
    tensors: tuple[str, ...]
    root: str | None = None


@dataclass(frozen=True)
class ShardIndex:
    """An index that was read. size: its bytes; root: the hash that binds them, and so all shards, in hex."""

    shards: tuple[Shard, ...]
    size: int
    root: str


def is_shard_index(path: str | os.PathLike[str]) -> bool:
    """Return whether a path is that of an index of shards, by its name."""
    return os.fspath(path).endswith(SUFFIX)


def index_path(path: Path) -> Path:
    """Return the path of the index for an output: NAME.qac.index.json for NAME.qac or NAME."""
    return path if is_shard_index(path) else path.with_name(f"{path.name.removesuffix('.qac')}{SUFFIX}")


def shard_name(index: Path, number: int, count: int) -> str:
    """Return the name of a shard, counted from 1."""
    return f"{index.name.removesuffix(SUFFIX)}-{number:05}-of-{count:05}.qac"


def write_shard_index(shards: Sequence[Shard]) -> bytes:
    """Return the index as JSON."""
    return write_metadata({"format": KIND, "version": 1, "shards": [asdict(shard) for shard in shards]})


def read_shard_index(path: Path) -> ShardIndex:
    """Read an index. Raises FormatError as `parse_shard_index` does, and OSError."""
    return parse_shard_index(read_small(path, LARGEST_INDEX), path)


def parse_shard_index(data: bytes, path: object) -> ShardIndex:
    """Read the bytes of an index. Raises FormatError for a malformed one, and for a name that is no file beside it."""
    try:
        told = read_metadata(data)
        if told.get("format") != KIND or told.get("version") != 1:
            raise HeaderError("it isn't an index of shards that this version reads")
        shards = tuple(_shard(entry) for entry in told["shards"])
    except (HeaderError, KeyError, TypeError, ValueError) as error:
        raise FormatError(f"{path}: isn't a valid index of shards ({error}); fetch it again") from error
    if not 0 < len(shards) <= MOST_SHARDS or sum(len(shard.tensors) for shard in shards) > MAX_TENSORS:
        raise LimitExceededError(f"{path}: has no shards, or too many of them or of their tensors; it is hostile")
    names = [name for shard in shards for name in shard.tensors]
    if len({shard.file for shard in shards}) != len(shards) or len(set(names)) != len(names):
        raise FormatError(f"{path}: names a shard or a tensor twice; fetch it again")
    return ShardIndex(shards, len(data), root_of([leaf_hash(data)]).hex())


def _shard(entry: Any) -> Shard:
    shard = Shard(entry["file"], entry["bytes"], entry["crc32"], tuple(entry["tensors"]), entry.get("root"))
    numbers = all(type(n) is int and 0 <= n < 1 << 62 for n in (shard.bytes, shard.crc32))
    if not numbers or not all(isinstance(name, str) for name in (shard.file, *shard.tensors)):
        raise TypeError("a field has another type")
    if shard.root is not None:
        parse_root(shard.root)
    plain = Path(shard.file).name == shard.file and not set(shard.file) & set("\\/:\0")
    if not plain or not shard.file.endswith(".qac"):
        raise ValueError(f"{shard.file[:80]!r} is no container beside it")
    return shard
