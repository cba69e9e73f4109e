"""Read a container in several files as one: each shard is opened when a tensor of it is requested."""

import contextlib
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from qacomp.formats.coded import CodedTensor
from qacomp.formats.container import Container
from qacomp.formats.errors import ChecksumMismatchError, HeaderError, TensorNotFoundError
from qacomp.formats.merkle import check_root, parse_root
from qacomp.formats.report import SectionInfo, TensorInfo, VerifyReport
from qacomp.formats.shard_index import ShardIndex
from qacomp.formats.tensors import SharedTensor

Opener = Callable[[Path], Container]


class ShardedContainer(Container):
    """Shards that are read as one container; graph and metadata are those of the first one.

    open_one: opens a shard; name: of the index in messages, its path if it is None; root: that the index must have, in
    hex, or None. Methods raise as those of Container do, and ChecksumMismatchError for a shard that isn't the one that
    the index was written with.
    """

    def __init__(
        self, path: Path, index: ShardIndex, open_one: Opener, name: str | None = None, root: str | None = None
    ) -> None:
        shards = index.shards
        self.source, self.size = name or str(path), index.size + sum(shard.bytes for shard in shards)
        if root is not None:
            check_root(self.source, bytes.fromhex(index.root), parse_root(root))
            if any(shard.root is None for shard in shards):
                raise HeaderError(f"{self.source}: binds no roots of its shards; write it again with this version")
        self.available = self.size
        self._path, self._shards, self._index_bytes, self._open_one = path, shards, index.size, open_one
        self._root = index.root
        self._open: dict[int, Container] = {}
        self._all_wanted = False
        self._places = {name: number for number, shard in enumerate(shards) for name in shard.tensors}

    @property
    def root(self) -> str:
        """Return the hash that binds the bytes of the index, in hex; they bind the roots of the shards."""
        return self._root

    @cached_property
    def version(self) -> tuple[int, int]:  # type: ignore[override]
        """Return the highest version of the shards."""
        return max(part.version for part in self._all)

    def close(self) -> None:
        """Close all shards."""
        for part in self._open.values():
            part.close()
        self._open.clear()

    @property
    def names(self) -> tuple[str, ...]:
        """Return the tensor names, in the order of the shards."""
        return tuple(self._places)

    @property
    def overhead_bytes(self) -> int:
        """Return the bytes of the index, and those of each shard outside its sections."""
        return self._index_bytes + sum(part.overhead_bytes for part in self._all)

    @property
    def sections(self) -> tuple[SectionInfo, ...]:
        """Return the sections of all shards; offsets are those in their own files."""
        return tuple(section for part in self._all for section in part.sections)

    @property
    def meta(self) -> dict[str, Any]:
        """Return the metadata."""
        return self._part(0).meta

    def graph(self) -> bytes | None:
        """Return the graph's bytes, or None."""
        return self._part(0).graph()

    def info(self, name: str) -> TensorInfo:
        """Return what the header says about a tensor."""
        return self._of(name).info(name)

    def measured(self, name: str) -> TensorInfo:
        """Return `info` with the bytes of a tensor whose indices are coded with others'."""
        return self._of(name).measured(name)

    @property
    def levels(self) -> int:
        """Return the number of progressive levels."""
        return max(part.levels for part in self._all)

    @property
    def level(self) -> int:
        """Return the number of the finest level."""
        return self.levels - 1

    def tensor(self, name: str, *, level: int | None = None, copy: bool = True) -> NDArray[Any]:
        """Return a tensor as a dense array."""
        return self._of(name).tensor(name, level=level, copy=copy)

    def rows(self, name: str, start: int, stop: int, *, level: int | None = None) -> NDArray[Any]:
        """Return rows of a tensor."""
        return self._of(name).rows(name, start, stop, level=level)

    def shared(self, name: str, *, level: int | None = None) -> SharedTensor:
        """Return a shared tensor's codebook and indices."""
        return self._of(name).shared(name, level=level)

    def coded(self, name: str, *, level: int | None = None) -> CodedTensor | None:
        """Return a large shared tensor as it is stored."""
        return self._of(name).coded(name, level=level)

    def read_ahead(self) -> None:
        """Tell that all tensors will be read."""
        self._all_wanted = True
        for part in self._open.values():
            part.read_ahead()

    def check(self) -> VerifyReport:
        """Check every shard."""
        reports = [part.check() for part in self._all]
        sections = tuple(section for report in reports for section in report.sections)
        tensors = tuple(tensor for report in reports for tensor in report.tensors)
        return VerifyReport(self.size, sections, tensors, self.version, self.root)

    @property
    def _all(self) -> list[Container]:
        return [self._part(number) for number in range(len(self._shards))]

    def _of(self, name: str) -> Container:
        if name not in self._places:
            raise TensorNotFoundError(
                f"{self.source}: no tensor {name!r} among its {len(self._places)}; `qacomp inspect` lists their names"
            )
        return self._part(self._places[name])

    def _part(self, number: int) -> Container:
        """Open a shard, unless it is open, and check that it is the one which the index names."""
        if number in self._open:
            return self._open[number]
        told = self._shards[number]
        with contextlib.ExitStack() as undo:
            part = self._open_one(self._path.with_name(told.file))
            undo.callback(part.close)
            same = (part.size, part.header_crc, part.names) == (told.bytes, told.crc32, told.tensors)
            if not same or told.root not in (None, part.root):
                raise ChecksumMismatchError(
                    f"{part.source}: isn't the shard that {self.source} was written with; fetch both again"
                )
            undo.pop_all()
        self._open[number] = part
        if self._all_wanted:
            part.read_ahead()
        return part
