"""Write a container: tensors come one at a time; sections wait in temporary files until the header is complete."""

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from numpy.typing import NDArray

from qacomp.formats import layout
from qacomp.formats.account import Account
from qacomp.formats.budget import check_graph, check_meta
from qacomp.formats.checksums import crc32
from qacomp.formats.codec_choice import LEAVE_OUT
from qacomp.formats.codecs import Stream, load_codec
from qacomp.formats.coding import Coding
from qacomp.formats.dtypes import little_endian
from qacomp.formats.encoding import (
    Member,
    Section,
    SectionKey,
    at_once,
    blob,
    encode,
    encode_levels,
    index_counts,
    repetitive,
    symbol_entropy,
    words,
)
from qacomp.formats.errors import UnsupportedTensorError
from qacomp.formats.held import HeldTensor, details
from qacomp.formats.index_bits import level_bits
from qacomp.formats.inventory import Inventory
from qacomp.formats.metadata import write_metadata
from qacomp.formats.open_groups import OpenGroups
from qacomp.formats.parallel import run
from qacomp.formats.records import GRAPH, INDEX_CHUNK, META, OWN_CHUNKS, SAME, VALUE_CHUNK, SectionRecord, TensorRecord
from qacomp.formats.report import TensorReport, WriteReport
from qacomp.formats.spools import Spools
from qacomp.formats.tensor_records import Tensor, describe, identity
from qacomp.formats.tensors import SharedTensor, stored_form


class Writer:
    """Writes one container. Use it in a `with` block: the file appears only if the block ends without an exception.

    Coded sections wait in temporary files beside the output, so peak memory grows with the largest tensor, not with the
    file. `report` holds the WriteReport after the block, None before. durable: wait until the disk has the file; a file
    that is only measured needn't.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        graph: bytes | None = None,
        meta: Mapping[str, Any] | None = None,
        precision: str = "exact",
        coding: Coding | None = None,
        durable: bool = True,
    ) -> None:
        coding = coding or Coding()
        self.path = Path(path)
        self.precision = precision
        self.threads = coding.threads
        self.digest_bytes = coding.digest_bytes
        self.codecs, self._newer = coding.tried, coding.newer
        self.chunk_log2 = coding.chunk_log2
        for codec in self.codecs or ():
            load_codec(codec.removeprefix(LEAVE_OUT))
        self.report: WriteReport | None = None
        self._graph, self._meta = graph, dict(meta or {})
        self._records: list[TensorRecord] = []
        self._names: set[str] = set()
        self._seen: dict[bytes, int] = {}
        self._spools = Spools(self.path, durable=durable, codecs=self.codecs, leaves=coding.leaves)
        self._groups = OpenGroups(self._put, self._move, self.codecs, self.chunk_log2)
        self._accounts: list[Account] = []
        self._keys: list[bytes] = []

    def __enter__(self) -> "Writer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            self._spools.close()

    def add(self, name: str, tensor: Tensor, precision: str | None = None) -> None:
        """Write one tensor; precision: for its codebook or vector, or None for the writer's precision.

        Raises UnsupportedTensorError for a bad or repeated name and for a dtype, shape or index that can't be stored,
        and OutputNotWritableError.
        """
        precision = precision or self.precision
        described = describe(name, tensor, precision)
        key, digest = identity(described, tensor, self.digest_bytes)
        record, stored, _ = described
        number = self._registered(replace(record, digest=digest), key, precision)
        if number is None:
            return
        if isinstance(tensor, SharedTensor):
            counts = index_counts(tensor.indices, tensor.codebook.shape[-1])
            bits = level_bits(record, counts, record.stored_levels - 1)
            self._accounts[number].has_indices(symbol_entropy(counts), bits)
            self._add_shared(number, tensor)
        else:
            self._add_dense(number, stored)

    def adopt(self, held: HeldTensor) -> None:
        """Write a tensor of another container as `add` would: sections of its own are copied, others are coded again.

        Raises as `add`, a FormatError for a damaged container, and UnsupportedTensorError for one with other chunks.
        """
        record = held.record(self.chunk_log2, self.digest_bytes)
        if not held.has_own_sections:
            self.add(held.name, held.tensor(), held.precision)
            return
        number = self._registered(record, held.key, held.precision)
        if number is None:
            return
        held.fill(self._accounts[number])
        if record.book_group:
            for level, book in enumerate(held.stored_books()):
                group = self._groups.add_values(number, book, layout.book_stream(record, level))
            self._records[number] = replace(record, book_group=group + 1)
        for section, payload in held.sections():
            self._spools.put(replace(section, owner=number), payload)

    def details(self) -> dict[str, dict[str, Any]]:
        """Return what a later `adopt` needs to know of each tensor and a container doesn't hold, as JSON values."""
        accounts = [a if a.same is None else self._accounts[a.same] for a in self._accounts]
        return {r.name: details(a, k) for r, a, k in zip(self._records, accounts, self._keys, strict=True)}

    def _registered(self, record: TensorRecord, key: bytes, precision: str) -> int | None:
        """Append a tensor's record and return its number; None if an earlier tensor has the same content."""
        if record.name in self._names:
            raise UnsupportedTensorError(f"two tensors are named {record.name[:80]!r}; rename one")
        self._names.add(record.name)
        self._keys.append(key)
        number = len(self._records)
        target = self._seen.setdefault(key, number)
        if target != number:
            record = replace(record, kind=SAME, same_as=target)
        self._records.append(record)
        self._accounts.append(Account(precision, None if target == number else target))
        return number if target == number else None

    @property
    def stored_bytes(self) -> int:
        """Return the bytes of all sections so far, without those of open groups."""
        return self._spools.stored_bytes

    def cut(self) -> None:
        """Close the open groups, so that no section holds both tensors written before and tensors written after."""
        self._groups.flush()

    def _add_shared(self, number: int, tensor: SharedTensor) -> None:
        self._records[number] = record = replace(self._records[number], book_group=self._add_books(number, tensor))
        if record.count <= layout.small_values(self.chunk_log2) and not repetitive(
            tensor.indices, self._accounts[number].entropy_bits or 0.0
        ):
            self._records[number] = replace(record, group=1 + self._groups.add_indices(number, record, tensor))
            return
        ranges = layout.chunk_ranges(record.count, self.chunk_log2)
        if ranges and at_once(Member(number, record, tensor, *ranges[0]), self.codecs):
            self._records[number] = record = replace(record, at_once=True)

        def encode_chunk(chunk: int) -> list[Section]:
            return encode_levels(INDEX_CHUNK, number, [Member(number, record, tensor, *ranges[chunk])], self.codecs)

        self._in_parallel(len(ranges), encode_chunk)

    def _add_books(self, number: int, tensor: SharedTensor) -> int:
        """Write a tensor's codebooks, and return 1 + the number of their group, or 0 for chunks of their own."""
        record = self._records[number]
        books = [level.codebook for level in tensor.levels] + [tensor.codebook]
        forms = [little_endian(book) for book in books]
        if record.stored != record.dtype:
            forms = [stored_form(book, self._accounts[number].precision) for book in forms]
        if tensor.blocks is None or forms[0].size <= layout.small_values(self.chunk_log2):
            for level, form in enumerate(forms):
                group = self._groups.add_values(number, form, layout.book_stream(record, level))
            return group + 1
        flat = words(forms[0])
        ranges = layout.chunk_ranges(flat.size, self.chunk_log2)

        def encode_chunk(chunk: int) -> list[Section]:
            start, stop = ranges[chunk]
            streams = [layout.book_stream(record, 0, start, stop)]
            return [encode(SectionKey(VALUE_CHUNK, 0, number), [flat[start:stop]], streams, [number], self.codecs)]

        self._in_parallel(len(ranges), encode_chunk)
        return OWN_CHUNKS

    def _add_dense(self, number: int, stored: NDArray[Any]) -> None:
        record = self._records[number]
        if record.count <= layout.small_values(self.chunk_log2):
            group = self._groups.add_values(
                number, stored, Stream("values", stored.size, 0, record.stored, record.shape)
            )
            self._records[number] = replace(record, group=group + 1)
            return
        flat = words(stored)
        ranges = layout.chunk_ranges(record.count, self.chunk_log2)

        def encode_chunk(chunk: int) -> list[Section]:
            start, stop = ranges[chunk]
            stream = Stream("values", stop - start, 0, record.stored, record.shape, start)
            parts = [flat[start:stop]]
            return [encode(SectionKey(VALUE_CHUNK, 0, number), parts, [stream], [number], self.codecs)]

        self._in_parallel(len(ranges), encode_chunk)

    def _in_parallel(self, count: int, encode_chunk: Callable[[int], list[Section]]) -> None:
        """Encode `count` chunks, a few at a time on several processes, and put their sections in order."""
        step = max(self.threads, 1) * 2
        for first in range(0, count, step):

            def one(number: int, first: int = first) -> list[Section]:
                return encode_chunk(first + number)

            for sections in run(min(step, count - first), self.threads, one):
                for section in sections:
                    self._put(section)

    def _move(self, number: int, group: int) -> None:
        self._records[number] = replace(self._records[number], group=1 + group)

    def _put(self, section: Section) -> None:
        for number in section.numbers:
            self._accounts[number].add(section.choice, section.content)
        self._spools.put(section.record, section.choice.payload)

    def _finish(self) -> None:
        self.cut()
        blobs: list[tuple[SectionRecord, bytes]] = []
        sizes = {GRAPH: 0, META: 0}
        for kind, data in ((GRAPH, self._graph), (META, write_metadata(self._meta) if self._meta else None)):
            if data is not None:
                choice = blob(data, check_graph if kind == GRAPH else check_meta, self._newer, self.codecs)
                sizes[kind] = len(choice.payload)
                crc = crc32(choice.payload)
                record = SectionRecord(kind, choice.codec.id, 0, 0, len(choice.payload), crc, len(data))
                blobs.append((record, choice.payload))
        made = self._spools.assemble(self._records, blobs, self.digest_bytes, self.chunk_log2)
        inventory = Inventory(made.header, layout.Members(made.header.tensors))
        infos = (inventory.tensor(n, lambda n: self._accounts[n].index_bits) for n in range(len(self._records)))
        reports = tuple(self._tensor_report(n, info.bytes) for n, info in enumerate(infos))
        self.report = WriteReport(made.size, sizes[GRAPH], sizes[META], made.overhead, reports, made.root)

    def _tensor_report(self, number: int, charged: int | None) -> TensorReport:
        assert charged is not None  # the bits of all indices in groups are known
        account = self._accounts[number]
        report = account.report(self._records[number], charged)
        if account.same is None:
            return report
        bits = self._accounts[account.same].entropy_bits
        reason = f"same content as {self._records[account.same].name}, stored once"
        return replace(report, entropy_bits=bits, reason=reason)


def save_file(
    path: str | os.PathLike[str],
    tensors: Mapping[str, Tensor],
    *,
    graph: bytes | None = None,
    meta: Mapping[str, Any] | None = None,
    precision: str = "exact",
    coding: Coding | None = None,
) -> WriteReport:
    """Write tensors (numpy arrays or SharedTensors), an optional graph and a JSON object to one container.

    graph: bytes of an ONNX graph or of any other description; meta: the JSON object; precision: in which float32
    codebooks and vectors are stored, "exact" or "fp16" down to "fp9" (see `stored_values`). The same input gives the
    same bytes. Raises UnsupportedTensorError or OutputNotWritableError; then no file is left behind.
    """
    with Writer(path, graph=graph, meta=meta, precision=precision, coding=coding) as writer:
        for name, tensor in tensors.items():
            writer.add(name, tensor)
    assert writer.report is not None
    return writer.report


__all__ = ["Coding", "Tensor", "Writer", "save_file"]
