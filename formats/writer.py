"""Writing a container: tensors come one at a time, sections wait in spool files, the header goes before them."""

import json
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qacomp.formats import header as h
from qacomp.formats import layout
from qacomp.formats.account import Account
from qacomp.formats.blocks import lookup
from qacomp.formats.checksums import DIGEST_BYTES, DigestStream, crc32
from qacomp.formats.codecs import Stream
from qacomp.formats.codecs.base import Array
from qacomp.formats.dtypes import dtype_id, little_endian
from qacomp.formats.encoding import Member, Section, at_once, blob, encode, encode_levels, entropy, repetitive, words
from qacomp.formats.errors import UnsupportedTensorError
from qacomp.formats.limits import MAX_DIMS, MAX_NAME_BYTES
from qacomp.formats.parallel import run
from qacomp.formats.report import TensorReport, WriteReport
from qacomp.formats.spools import Spools
from qacomp.formats.tensors import SharedTensor, as_array, check_shared, is_side, stored_form

_COPY = 1 << 20
Tensor = NDArray[Any] | SharedTensor


class Writer:
    """Writes one container; use it in a `with` block, which puts the file in place only when it ends well.

    Peak memory is the largest tensor plus a constant: what is coded waits in temporary files beside the output.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        graph: bytes | None = None,
        meta: Mapping[str, Any] | None = None,
        side: str = "exact",
        threads: int = 1,
        digest_bytes: int = DIGEST_BYTES,
        codecs: Iterable[str] | None = None,
        chunk_log2: int = layout.CHUNK_LOG2,
    ) -> None:
        self.path = Path(path)
        self.side = side
        self.threads = threads
        self.digest_bytes = digest_bytes
        self.codecs = None if codecs is None else (*codecs, "raw")
        self.chunk_log2 = chunk_log2
        self.report: WriteReport | None = None
        self._graph, self._meta = graph, dict(meta or {})
        self._records: list[h.TensorRecord] = []
        self._names: set[str] = set()
        self._seen: dict[bytes, int] = {}
        self._spools = Spools(self.path)
        self._index_group: list[tuple[int, SharedTensor]] = []
        self._value_groups: dict[tuple[int, bool], list[tuple[int, Array, Stream]]] = {}
        self._value_numbers: dict[tuple[int, bool], int] = {}
        self._groups = [0, 0]
        self._accounts: list[Account] = []

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

    def add(self, name: str, tensor: Tensor) -> None:
        """Write one tensor; raises UnsupportedTensorError for a bad or repeated name, dtype, shape or index."""
        encoded = name.encode(errors="strict") if _is_text(name) else None
        if encoded is None or len(encoded) > MAX_NAME_BYTES:
            raise UnsupportedTensorError(f"{name[:80]!r}: a name is UTF-8 text of at most {MAX_NAME_BYTES} bytes")
        if name in self._names:
            raise UnsupportedTensorError(f"{name[:80]!r}: two tensors have this name; rename one")
        if isinstance(tensor, SharedTensor):
            check_shared(name, tensor)
            record, content, values = self._shared_record(name, tensor)
        else:
            array = as_array(name, tensor)
            stored = stored_form(array, self.side) if is_side(array) else array
            values = stored.astype(array.dtype, copy=False)
            record = h.TensorRecord(name, h.DENSE, dtype_id(array.dtype), dtype_id(stored.dtype), array.shape)
            content = stored
        if len(record.shape) > MAX_DIMS:
            raise UnsupportedTensorError(
                f"{name[:80]!r}: at most {MAX_DIMS} axes can be stored, not {len(record.shape)}"
            )
        self._names.add(name)
        key, digest = self._identity(record, tensor, content, values)
        number = len(self._records)
        if key in self._seen:
            target = self._seen[key]
            self._records.append(replace(record, kind=h.SAME, same_as=target, digest=digest))
            self._accounts.append(Account(same=target))
            return
        self._seen[key] = number
        self._records.append(replace(record, digest=digest))
        self._accounts.append(Account())
        if isinstance(tensor, SharedTensor):
            self._add_shared(number, tensor)
        else:
            self._add_dense(number, content)

    def cut(self) -> None:
        """End the sections that small tensors share, so that those before and those after can be fetched apart."""
        for kind in sorted(self._value_groups):
            self._flush_values(kind)
        self._flush_indices()

    def _shared_record(self, name: str, tensor: SharedTensor) -> tuple[h.TensorRecord, NDArray[Any], NDArray[Any]]:
        book = little_endian(tensor.codebook, name)
        stored = stored_form(book, self.side)
        books = [level.codebook for level in tensor.levels] + [book]
        if stored.dtype != book.dtype and any(stored_form(b, self.side).dtype == b.dtype for b in books):
            stored = book
        children = tuple(tuple(np.bincount(np.asarray(level.parents)).tolist()) for level in tensor.levels)
        record = h.TensorRecord(
            name,
            h.SHARED,
            dtype_id(book.dtype),
            dtype_id(stored.dtype),
            tensor.indices.shape,
            levels=tuple(b.shape[-1] for b in books),
            children=children,
            blocks=tensor.blocks,
        )
        return record, stored, stored.astype(book.dtype, copy=False)

    def _identity(
        self, record: h.TensorRecord, tensor: Tensor, content: NDArray[Any], values: NDArray[Any]
    ) -> tuple[bytes, bytes]:
        """A key that only equal content has, and the digest of the decoded bytes."""
        key, digest = DigestStream(16), DigestStream(self.digest_bytes)
        key.update(
            repr(
                (record.kind, record.dtype, record.stored, record.shape, record.levels, record.children, record.blocks)
            ).encode()
        )
        if isinstance(tensor, SharedTensor):
            for level in tensor.levels:
                key.update(level.codebook)
            key.update(values)
            flat = tensor.indices.reshape(-1)
            for start in range(0, flat.size, _COPY):
                part = flat[start : start + _COPY]
                key.update(part.astype("<u2"))
                if tensor.blocks is None:
                    digest.update(values.take(part))
                else:
                    digest.update(lookup(values, part, record.shape, tensor.blocks, start))
        else:
            key.update(content)
            digest.update(values)
        return key.digest(), digest.digest()

    def _add_shared(self, number: int, tensor: SharedTensor) -> None:
        self._accounts[number].entropy_bits = entropy(tensor.indices, tensor.codebook.shape[-1])
        self._records[number] = record = replace(self._records[number], side_group=self._add_books(number, tensor))
        if record.count <= layout.small_values(self.chunk_log2) and not repetitive(
            tensor.indices, self._accounts[number].entropy_bits or 0.0
        ):
            full = sum(t.indices.size for _, t in self._index_group) + record.count > layout.group_values(
                self.chunk_log2
            )
            if full or len(self._index_group) == layout.GROUP_TENSORS:
                self._flush_indices()
            self._records[number] = replace(record, group=self._groups[0] + 1)
            self._index_group.append((number, tensor))
            return
        ranges = layout.chunk_ranges(record.count, self.chunk_log2)
        if ranges and at_once(Member(number, record, tensor, *ranges[0]), self.codecs):
            self._records[number] = record = replace(record, at_once=True)

        def encode_chunk(chunk: int) -> list[Section]:
            return encode_levels(h.INDEX_CHUNK, number, [Member(number, record, tensor, *ranges[chunk])], self.codecs)

        self._in_parallel(len(ranges), encode_chunk)

    def _add_books(self, number: int, tensor: SharedTensor) -> int:
        """Write a tensor's codebooks; 1 + their group, or 0 for chunks of their own."""
        record = self._records[number]
        books = [level.codebook for level in tensor.levels] + [tensor.codebook]
        forms = [little_endian(book) for book in books]
        if record.stored != record.dtype:
            forms = [stored_form(book, self.side) for book in forms]
        if tensor.blocks is None or forms[0].size <= layout.small_values(self.chunk_log2):
            for level, form in enumerate(forms):
                group = self._to_value_group(number, form, layout.book_stream(record, level))
            return group + 1
        flat = words(forms[0])
        ranges = layout.chunk_ranges(flat.size, self.chunk_log2)

        def encode_chunk(chunk: int) -> list[Section]:
            start, stop = ranges[chunk]
            streams = [layout.book_stream(record, 0, start, stop)]
            return [encode(h.VALUE_CHUNK, 0, number, "values", [flat[start:stop]], streams, [number], self.codecs)]

        self._in_parallel(len(ranges), encode_chunk)
        return h.OWN_CHUNKS

    def _add_dense(self, number: int, stored: NDArray[Any]) -> None:
        record = self._records[number]
        if record.count <= layout.small_values(self.chunk_log2):
            group = self._to_value_group(number, stored, Stream("values", stored.size, 0, record.stored, record.shape))
            self._records[number] = replace(record, group=group + 1)
            return
        flat = words(stored)
        ranges = layout.chunk_ranges(record.count, self.chunk_log2)

        def encode_chunk(chunk: int) -> list[Section]:
            start, stop = ranges[chunk]
            stream = Stream("values", stop - start, 0, record.stored, record.shape, start)
            parts = [flat[start:stop]]
            return [encode(h.VALUE_CHUNK, 0, number, "values", parts, [stream], [number], self.codecs)]

        self._in_parallel(len(ranges), encode_chunk)

    def _in_parallel(self, count: int, encode_chunk: Callable[[int], list[Section]]) -> None:
        """Encode `count` chunks, a few at a time, and put them in order."""
        step = max(self.threads, 1) * 2
        for first in range(0, count, step):

            def one(number: int, first: int = first) -> list[Section]:
                return encode_chunk(first + number)

            for sections in run(min(step, count - first), self.threads, one):
                for section in sections:
                    self._put(section)

    def _to_value_group(self, number: int, stored: NDArray[Any], stream: Stream) -> int:
        """Put values into the open group of their type (codebooks in blocks apart), and give the group's number.

        A tensor's codebooks must share one group, and groups list their members in tensor order, so a group is
        flushed only between tensors.
        """
        kind = (stream.dtype, stream.codebooks)
        members = self._value_groups.get(kind, [])
        full = sum(other.count for _, _, other in members) + stored.size > layout.group_values(self.chunk_log2)
        if members and full and members[-1][0] != number:
            self._flush_values(kind)
        if kind not in self._value_groups:
            self._value_groups[kind] = []
            self._value_numbers[kind] = self._groups[1]
            self._groups[1] += 1
        self._value_groups[kind].append((number, words(stored), stream))
        return self._value_numbers[kind]

    def _flush_values(self, kind: tuple[int, bool]) -> None:
        members = self._value_groups.pop(kind)
        numbers, parts, streams = zip(*members, strict=True)
        self._put(encode(h.VALUES, 0, self._value_numbers[kind], "values", parts, streams, numbers, self.codecs))

    def _flush_indices(self) -> None:
        if self._index_group:
            members = [Member(n, self._records[n], tensor, 0, tensor.indices.size) for n, tensor in self._index_group]
            for section in encode_levels(h.INDICES, self._groups[0], members, self.codecs):
                self._put(section)
            self._groups[0] += 1
            self._index_group = []

    def _put(self, section: Section) -> None:
        for number, share in section.shares:
            self._accounts[number].add(section.choice, share, section.content)
        self._spools.put(section.record, section.choice.payload)

    def _finish(self) -> None:
        self.cut()
        blobs: list[tuple[h.SectionRecord, bytes]] = []
        sizes = {h.GRAPH: 0, h.META: 0}
        for kind, data in ((h.GRAPH, self._graph), (h.META, _json(self._meta) if self._meta else None)):
            if data is not None:
                choice = blob(data)
                sizes[kind] = len(choice.payload)
                crc = crc32(choice.payload)
                record = h.SectionRecord(kind, choice.codec.id, 0, 0, len(choice.payload), crc, len(data))
                blobs.append((record, choice.payload))
        end, overhead = self._spools.assemble(self._records, blobs, self.digest_bytes, self.chunk_log2)
        reports = tuple(self._tensor_report(number) for number in range(len(self._records)))
        self.report = WriteReport(end, sizes[h.GRAPH], sizes[h.META], overhead, reports)

    def _tensor_report(self, number: int) -> TensorReport:
        account = self._accounts[number]
        report = account.report(self._records[number], self.side)
        if account.same is None:
            return report
        bits = self._accounts[account.same].entropy_bits
        reason = f"same content as {self._records[account.same].name}, stored once"
        return replace(report, entropy_bits=bits, reason=reason)


def _json(meta: Mapping[str, Any]) -> bytes:
    """Metadata in the one form that the same object always gives."""
    return json.dumps(meta, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def save_file(
    path: str | os.PathLike[str],
    tensors: Mapping[str, Tensor],
    *,
    graph: bytes | None = None,
    meta: Mapping[str, Any] | None = None,
    side: str = "exact",
    threads: int = 1,
    digest_bytes: int = DIGEST_BYTES,
    codecs: Iterable[str] | None = None,
    chunk_log2: int = layout.CHUNK_LOG2,
    cuts: Collection[str] = (),
) -> WriteReport:
    """Write tensors (numpy arrays or SharedTensors), an optional graph and a JSON object to one container.

    side: precision of float32 codebooks and vectors ("exact", or "fp16" down to "fp9": see `stored_values`); codecs:
    names of the codecs to choose from (raw always among them), all by default; chunk_log2: log2 of the values in a
    chunk of a large tensor; cuts: names of tensors before which shared sections end (see `Writer.cut`). The same input
    gives the same bytes, whatever `threads` is. Raises UnsupportedTensorError or OutputNotWritableError; nothing is
    left behind then.
    """
    options: dict[str, Any] = {"side": side, "threads": threads, "digest_bytes": digest_bytes, "codecs": codecs}
    options["chunk_log2"] = chunk_log2
    with Writer(path, graph=graph, meta=meta, **options) as writer:
        for name, tensor in tensors.items():
            if name in cuts:
                writer.cut()
            writer.add(name, tensor)
    assert writer.report is not None
    return writer.report


__all__ = ["Tensor", "Writer", "save_file"]
