"""Write a container in several files of a bounded size: a shard is finished before a tensor that might not fit."""

import math
import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from qacomp.formats.atomic import moved_into_place
from qacomp.formats.dtypes import dtype_id, itemsize_of
from qacomp.formats.errors import UnsupportedTensorError
from qacomp.formats.held import HeldTensor
from qacomp.formats.layout import small_values
from qacomp.formats.metadata import write_metadata
from qacomp.formats.records import SHARED, TensorRecord
from qacomp.formats.report import WriteReport
from qacomp.formats.scratch import part_folder
from qacomp.formats.shard_index import MOST_SHARDS, Shard, index_path, shard_name, write_shard_index
from qacomp.formats.tensor_records import Tensor
from qacomp.formats.tensors import SharedTensor
from qacomp.formats.writer import Coding, Writer

_PREFIX, _RECORD = 64, 64  # bytes of a prefix with padding; of a tensor's and a section's records, rounded up
_STALE = "{}-[0-9][0-9][0-9][0-9][0-9]-of-[0-9][0-9][0-9][0-9][0-9].qac"


class ShardWriter:
    """Writes the index `path` and its shards beside it; use it in a `with` block, as `Writer`.

    shard_bytes: most bytes of a shard; one that holds a single tensor may be larger. Shards get their names at the end,
    since these tell how many there are. Then all files are moved into place, the index last; shards of an earlier
    container of the same name are removed.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        shard_bytes: int,
        *,
        graph: bytes | None = None,
        meta: Mapping[str, Any] | None = None,
        coding: Coding | None = None,
    ) -> None:
        self.path = index_path(Path(path))
        self.report: WriteReport | None = None
        self._most, self._graph, self._meta, self._coding = shard_bytes, graph, meta, coding
        self._blobs = len(graph or b"") + len(write_metadata(meta or {}))
        self._stack = ExitStack()
        self._folder: Path | None = None
        self._writer: Writer | None = None
        self._names: list[str] = []
        self._bound = 0
        self._done: list[tuple[Shard, WriteReport]] = []

    def __enter__(self) -> "ShardWriter":
        self._folder = self._stack.enter_context(part_folder(self.path.parent))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._stack:
            if self._writer is not None and kind is not None:
                self._writer.__exit__(kind, error, trace)
            if kind is None:
                self._finish()

    def add(self, name: str, tensor: Tensor, precision: str | None = None) -> None:
        """Write one tensor, into a new shard if it might not fit into the open one. Raises as `Writer.add`."""
        small = math.prod(tensor.indices.shape if isinstance(tensor, SharedTensor) else tensor.shape)
        self._put(name, _most_bytes(name, tensor), small, lambda writer: writer.add(name, tensor, precision))

    def adopt(self, held: HeldTensor) -> None:
        """Write a tensor of another container, as `add` would. Raises as `Writer.adopt`."""
        record, _ = held.container.content(held.name)
        self._put(held.name, _most_record_bytes(held.name, record), record.count, lambda writer: writer.adopt(held))

    def _put(self, name: str, most: tuple[int, int], small: int, put: Callable[[Writer], None]) -> None:
        values, side = most
        if self._writer is None or (self._names and self._bound + values + side > self._most):
            self._next()
        assert self._writer is not None
        before = self._writer.stored_bytes
        put(self._writer)
        self._names.append(name)
        waits = small <= small_values(self._writer.chunk_log2)  # in an open group, so that its bytes aren't known
        self._bound += side + (values if waits else min(values, self._writer.stored_bytes - before))

    def cut(self) -> None:
        """Close the open groups of the shard."""
        if self._writer is not None:
            self._writer.cut()

    def _next(self) -> None:
        self._close()
        if len(self._done) == MOST_SHARDS:
            raise UnsupportedTensorError(f"more than {MOST_SHARDS:,} files; give a larger size for each of them")
        assert self._folder is not None
        first = not self._done
        path = self._folder / f"{len(self._done) + 1}.qac"
        self._writer = Writer(
            path, graph=self._graph if first else None, meta=self._meta if first else None, coding=self._coding
        )
        self._bound = _PREFIX + (self._blobs if first else 0)
        self._names = []

    def _close(self) -> None:
        if self._writer is None:
            return
        writer, self._writer = self._writer, None
        with writer:
            pass
        assert writer.report is not None
        with writer.path.open("rb") as file:
            crc = int.from_bytes(file.read(28)[24:], "little")
        report, names = writer.report, tuple(self._names)
        shard = Shard(writer.path.name, report.container_bytes, crc, names, report.root)
        self._done.append((shard, report))

    def _finish(self) -> None:
        if self._writer is None and not self._done:
            self._next()  # a container without tensors
        self._close()
        assert self._folder is not None
        names = [shard_name(self.path, number + 1, len(self._done)) for number in range(len(self._done))]
        shards = [replace(done, file=name) for name, (done, _) in zip(names, self._done, strict=True)]
        index = self._folder / "index"
        index.write_bytes(write_shard_index(shards))
        stale = set(self.path.parent.glob(_STALE.format(_escaped(self.path.name))))
        written = [self._folder / done.file for done, _ in self._done]
        made = dict(zip(written, map(self.path.with_name, names), strict=True))
        moved_into_place({**made, index: self.path})
        for path in stale - set(made.values()):
            path.unlink(missing_ok=True)
        reports = [report for _, report in self._done]
        size = index_bytes = self.path.stat().st_size
        self.report = WriteReport(
            size + sum(report.container_bytes for report in reports),
            sum(report.graph_bytes for report in reports),
            sum(report.meta_bytes for report in reports),
            index_bytes + sum(report.overhead_bytes for report in reports),
            tuple(tensor for report in reports for tensor in report.tensors),
        )


def shard_files(path: Path) -> list[Path]:
    """Return the shards of an output that exist, of any number of files."""
    index = index_path(path)
    return sorted(index.parent.glob(_STALE.format(_escaped(index.name))))


def _escaped(index: str) -> str:
    import glob

    return glob.escape(index.removesuffix(".qac.index.json"))


def _most_bytes(name: str, tensor: Tensor) -> tuple[int, int]:
    """Return upper bounds of what a tensor adds to a shard: its values or packed indices; its codebooks and records."""
    if not isinstance(tensor, SharedTensor):
        return _most(name, tensor.nbytes, tensor.nbytes // 1024)
    books = sum(book.size for book in (tensor.codebook, *(level.codebook for level in tensor.levels)))
    return _most_shared(name, tensor.indices.size, books, (tensor.codebook.shape[-1], dtype_id(tensor.codebook.dtype)))


def _most_record_bytes(name: str, record: TensorRecord) -> tuple[int, int]:
    """Return the same bounds for a tensor with a record."""
    if record.kind != SHARED:
        return _most(name, record.nbytes, record.nbytes // 1024)
    books = math.prod(record.books) * sum(record.levels)
    return _most_shared(name, record.count, books, (record.levels[-1], record.dtype))


def _most_shared(name: str, count: int, books: int, book: tuple[int, int]) -> tuple[int, int]:
    k, dtype = book
    width = itemsize_of(dtype) + 4  # and the number of children of each entry
    return _most(name, count * (k - 1).bit_length() // 8 + 8, books * width + count // 1024)


def _most(name: str, values: int, side: int) -> tuple[int, int]:
    return values, len(name.encode()) + 10 * 36 + _RECORD + side
