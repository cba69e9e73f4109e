"""Read an open container: names and shapes at once, each tensor when it is requested, each section checked first."""

import contextlib
import math
import mmap
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qacomp.formats import layout
from qacomp.formats.checksums import DigestStream
from qacomp.formats.coded import CodedTensor, coded_tensor
from qacomp.formats.dtypes import DTYPES, dtype_of
from qacomp.formats.errors import (
    ChecksumMismatchError,
    HeaderError,
    NotSharedError,
    TensorNotFoundError,
    UnsupportedVersionError,
)
from qacomp.formats.index_bits import DecodedBits
from qacomp.formats.inventory import Inventory
from qacomp.formats.limits import Limits
from qacomp.formats.mapped_pages import MappedPages
from qacomp.formats.merkle import root_of
from qacomp.formats.metadata import read_metadata
from qacomp.formats.prefix import PREFIX_BYTES, Prefix
from qacomp.formats.ranges import Data
from qacomp.formats.records import GRAPH, META, SAME, SHARED, Header, TensorRecord
from qacomp.formats.report import SectionInfo, TensorInfo, VerifyReport
from qacomp.formats.sections import Sections
from qacomp.formats.tensor_decoder import TensorDecoder
from qacomp.formats.tensors import Level, SharedTensor


@dataclass(frozen=True)
class Access:
    """Hold how a container is read.

    limits: the largest sizes and the most work that are accepted; verify: check each section's checksum when the
    section is first read; threads: number of processes that decode a large tensor's chunks; root: the root that the
    file must have, or None.
    """

    limits: Limits
    verify: bool = True
    threads: int = 1
    root: bytes | None = None


class Container:
    """An open container, usable in a `with` block; sections are read, checked and decoded when they are needed.

    `open_file` returns it. All methods raise a FormatError if the bytes that they need are damaged, and
    UnsupportedVersionError for a tensor that is stored in a way that only a newer version knows.
    """

    def __init__(
        self,
        source: str,
        data: Data,
        prefix: Prefix,
        header: Header,
        access: Access,
        head: bytes,
    ) -> None:
        self.source = source
        self.version = prefix.version
        self.size = prefix.file_bytes
        """Bytes of the whole file, as its prefix says."""
        self.available = len(data)
        """Bytes of the file that are there: fewer if it is cut off."""
        self.header_crc = prefix.header_crc
        self.header = header
        self._head = head  # leaf hash of prefix and stored header
        self._sections = Sections(
            source, data, header, PREFIX_BYTES + prefix.stored_bytes, access.limits, access.verify
        )
        self._inventory = Inventory(header, self._sections.members)
        self._decoder = TensorDecoder(header, self._sections, self._inventory, access.threads)
        self._numbers = {record.name: number for number, record in enumerate(header.tensors)}
        complete = self._sections.complete_levels()
        self._bits = DecodedBits(self._decoder, complete)
        self._top = (self.levels if complete == self._sections.levels else complete) - 1
        self._handles: list[Any] = [data]

    def __enter__(self) -> "Container":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file. Arrays that were returned stay valid; a mapped view keeps its map open."""
        self._sections.release()
        for handle in self._handles:
            with contextlib.suppress(BufferError):  # a mapped view is still in use; the map is closed with it
                handle.release() if isinstance(handle, memoryview) else handle.close()

    @property
    def names(self) -> tuple[str, ...]:
        """Return the tensor names, in the file's order."""
        return tuple(self._numbers)

    @property
    def root(self) -> str:
        """Return the hash that binds all bytes of the file, in hex (SPEC.md, section 13).

        A file without leaf hashes in its header is read whole for it. From then on every section that is read must be
        one that the root binds.
        """
        return root_of([self._head, *self._sections.leaves()]).hex()

    @property
    def overhead_bytes(self) -> int:
        """Return the bytes of prefix, header and padding together: all bytes outside the sections."""
        return self.size - sum(section.stored_bytes for section in self.header.sections)

    @property
    def sections(self) -> tuple[SectionInfo, ...]:
        """Return all sections, in the file's order."""
        return tuple(self._inventory.section(place, offset) for place, offset in enumerate(self._sections.offsets))

    @property
    def meta(self) -> dict[str, Any]:
        """Return the JSON object stored with the tensors; an empty one if the file has no metadata."""
        data = self._sections.blob(META)
        if data is None:
            return {}
        try:
            return read_metadata(data)
        except HeaderError as error:
            raise HeaderError(f"{self.source}: {error}") from error

    def graph(self) -> bytes | None:
        """Return the graph's bytes as they were given to the writer, or None."""
        return self._sections.blob(GRAPH)

    def info(self, name: str) -> TensorInfo:
        """Return what the header says about a tensor. Raises TensorNotFoundError."""
        return self._inventory.tensor(self._number(name))

    def measured(self, name: str) -> TensorInfo:
        """Return `info` with the bytes of a tensor whose indices are coded with others': their group is decoded."""
        return self._inventory.tensor(self._number(name), self._bits)

    @property
    def levels(self) -> int:
        """Return the number of progressive levels in the file; 1 without nested codebooks."""
        return max((len(record.levels) for record in self.header.tensors), default=1) or 1

    @property
    def level(self) -> int:
        """Return the number of the finest complete level: the last one, unless the file is cut off."""
        return self._top

    def tensor(self, name: str, *, level: int | None = None, copy: bool = True) -> NDArray[Any]:
        """Return a tensor as a new dense array of its shape and dtype; `level`: a coarser level of a shared tensor.

        copy=False: a large tensor that is stored raw comes as a read-only view of the mapped file. Raises
        TensorNotFoundError, and ValueError for a level below 0.
        """
        record, number = self.content(name)
        if record.kind == SHARED:
            return self._decoder.weights(number, self._level_of(record, level)).reshape(record.shape)
        if not copy and (view := self._decoder.mapped(number)) is not None:
            return view.reshape(record.shape)
        return self._decoder.values(number).reshape(record.shape)

    def rows(self, name: str, start: int, stop: int, *, level: int | None = None) -> NDArray[Any]:
        """Return the rows [start, stop) of a tensor's first axis, decoding only the chunks that hold them.

        Bounds are clipped as in slicing. Raises TensorNotFoundError, and IndexError for a tensor without axes.
        """
        record, number = self.content(name)
        if not record.shape:
            raise IndexError(f"tensor {name!r} has no axes, so no rows; read it with tensor()")
        start, stop, _ = slice(start, stop).indices(record.shape[0])
        stop = max(start, stop)
        if record.group:
            return self.tensor(name, level=level)[start:stop]
        inner = math.prod(record.shape[1:])
        top = self._level_of(record, level) if record.kind == SHARED else 0
        out: NDArray[Any] = np.empty((stop - start) * inner, dtype_of(record.dtype))
        first, last = start * inner, stop * inner
        for chunk, (begin, end) in enumerate(layout.chunk_ranges(record.count, self.header.chunk_log2)):
            if begin >= last or end <= first:
                continue
            if record.kind == SHARED:
                part = self._decoder.chunk_weights(number, chunk, begin, end, top)
            else:
                part = self._decoder.chunk_values(number, chunk, begin, end)
            low, high = max(begin, first), min(end, last)
            out[low - first : high - first] = part[low - begin : high - begin]
        return out.reshape(stop - start, *record.shape[1:])

    def shared(self, name: str, *, level: int | None = None) -> SharedTensor:
        """Return a shared tensor's codebook and indices: with all coarser levels, or at one `level` without them.

        Raises TensorNotFoundError, or NotSharedError for a dense tensor.
        """
        record, number = self.content(name)
        if record.kind != SHARED:
            raise NotSharedError(f"{self.source}: tensor {name!r} is stored dense; read it with tensor()")
        top = self._level_of(record, level)
        indices = self._decoder.indices(number, top).reshape(record.shape)
        levels: tuple[Level, ...] = ()
        if level is None:
            levels = tuple(
                Level(self._decoder.book(number, i), np.repeat(np.arange(len(split), dtype=np.uint16), split))
                for i, split in enumerate(record.children[:top])
            )
        return SharedTensor(self._decoder.book(number, top), indices, levels, record.blocks)

    def coded(self, name: str, *, level: int | None = None) -> CodedTensor | None:
        """Return a large shared tensor as it is stored, else None: see `coded_tensor`. Raises a FormatError."""
        record, number = self.content(name)
        return coded_tensor(self._decoder, number, self._level_of(record, level))

    def read_ahead(self) -> None:
        """Tell that all tensors will be read: small ones are then decoded together, which takes less time."""
        self._decoder.read_ahead()

    def codebook(self, name: str, level: int) -> NDArray[Any]:
        """Decode the codebook of one level of a shared tensor."""
        return self._decoder.book(self.content(name)[1], level)

    def stored(self, place: int) -> memoryview:
        """Return the stored bytes of a section by its number in the file; raises ChecksumMismatchError."""
        return self._sections.stored(place)

    def check(self) -> VerifyReport:
        """Check every section's checksum and every tensor's digest; raises a FormatError if one of them is wrong."""
        self._sections.check()
        self.read_ahead()
        self.graph()
        _ = self.meta
        infos = []
        for name in self.names:
            record, _ = self.content(name)
            infos.append(self.measured(name))
            digest = DigestStream(self.header.digest_bytes)
            digest.update(self.tensor(name))
            if digest.digest() != record.digest:
                raise ChecksumMismatchError(
                    f"{self.source}: tensor {name!r} doesn't decode to the values that were written; fetch it again"
                )
        return VerifyReport(self.size, self.sections, tuple(infos), self.version, self.root)

    def _number(self, name: str) -> int:
        if name not in self._numbers:
            raise TensorNotFoundError(
                f"{self.source}: no tensor {name!r} among its {len(self._numbers)}; `qacomp inspect` lists their names"
            )
        return self._numbers[name]

    def content(self, name: str) -> tuple[TensorRecord, int]:
        """Return the record and number of the tensor that holds a tensor's content. Raises TensorNotFoundError."""
        number = self._number(name)
        record = self.header.tensors[number]
        if record.kind == SAME:
            number = record.same_as
            record = self.header.tensors[number]
        for dtype in (record.dtype, record.stored):
            if dtype not in DTYPES:
                raise UnsupportedVersionError(
                    f"{self.source}: tensor {name!r} has element type {dtype} of a newer format version; update qacomp"
                )
        return record, number

    @property
    def data(self) -> Data:
        """Return the bytes of the file, as far as they are there."""
        return self._sections.data

    @property
    def start(self) -> int:
        """Return the offset at which the header ends, and the first section may begin."""
        return self._sections.start

    @property
    def end(self) -> int:
        """Return the offset at which the last section ends; in a valid file that is the file's size."""
        return self._sections.end

    def keep(self, mapped: mmap.mmap) -> None:
        """Keep the map that the data is in: pages are given back as they are read, and it is closed at the end."""
        self._handles.append(mapped)
        self._sections.read_from(MappedPages(mapped))

    def _level_of(self, record: TensorRecord, level: int | None) -> int:
        """Return the level to read: the requested one, or the finest complete one, clipped to the tensor's levels."""
        if level is not None and level < 0:
            raise ValueError(f"level {level} is below 0; levels count from 0, the coarsest")
        return min(self._top if level is None else level, len(record.levels) - 1)
