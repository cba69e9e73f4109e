"""Writing a container: tensors come one at a time, sections wait in spool files, the header goes before them."""

import json
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from qacomp.formats import header as h
from qacomp.formats import layout
from qacomp.formats.atomic import atomic_file
from qacomp.formats.checksums import DIGEST_BYTES, DigestStream, crc32
from qacomp.formats.codecs import Stream
from qacomp.formats.codecs.base import Array, Kind, word_dtype
from qacomp.formats.codecs.zstd import compress
from qacomp.formats.dtypes import dtype_id, dtype_name, little_endian
from qacomp.formats.errors import OutputNotWritableError, UnsupportedTensorError
from qacomp.formats.limits import MAX_DIMS, MAX_NAME_BYTES
from qacomp.formats.parallel import run
from qacomp.formats.report import TensorReport, WriteReport
from qacomp.formats.selection import Choice, choose
from qacomp.formats.tensors import SharedTensor, as_array, check_shared, is_side, stored_form

_COPY = 1 << 20
_ALONE_FROM = 8192
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
        self._sections: dict[int, list[h.SectionRecord]] = {}
        self._spools: dict[int, IO[bytes]] = {}
        self._index_group: list[tuple[int, SharedTensor]] = []
        self._value_groups: dict[int, list[tuple[int, Array, Stream]]] = {}
        self._value_numbers: dict[int, int] = {}
        self._groups = [0, 0]
        self._parts: list[_Part] = []

    def __enter__(self) -> "Writer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            for spool in self._spools.values():
                spool.close()

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
            self._parts.append(_Part(record.stored, same=target))
            return
        self._seen[key] = number
        self._records.append(replace(record, digest=digest))
        self._parts.append(_Part(record.stored))
        if isinstance(tensor, SharedTensor):
            self._add_shared(number, tensor)
        else:
            self._add_dense(number, content)

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
            levels=tuple(len(b) for b in books),
            children=children,
        )
        return record, stored, stored.astype(book.dtype, copy=False)

    def _identity(
        self, record: h.TensorRecord, tensor: Tensor, content: NDArray[Any], values: NDArray[Any]
    ) -> tuple[bytes, bytes]:
        """A key that only equal content has, and the digest of the decoded bytes."""
        key, digest = DigestStream(16), DigestStream(self.digest_bytes)
        key.update(
            repr((record.kind, record.dtype, record.stored, record.shape, record.levels, record.children)).encode()
        )
        if isinstance(tensor, SharedTensor):
            for level in tensor.levels:
                key.update(level.codebook)
            key.update(values)
            flat = tensor.indices.reshape(-1)
            for start in range(0, flat.size, _COPY):
                part = flat[start : start + _COPY]
                key.update(part.astype("<u2"))
                digest.update(values.take(part))
        else:
            key.update(content)
            digest.update(values)
        return key.digest(), digest.digest()

    def _add_shared(self, number: int, tensor: SharedTensor) -> None:
        record = self._records[number]
        books = [level.codebook for level in tensor.levels] + [tensor.codebook]
        for book in books:
            exact = record.stored == record.dtype
            stored = little_endian(book) if exact else stored_form(little_endian(book), self.side)
            group = self._to_value_group(number, stored, (len(book),))
        self._parts[number].entropy_bits = entropy(tensor.indices, len(tensor.codebook))
        self._records[number] = record = replace(record, side_group=group + 1)
        if record.count <= layout.small_values(self.chunk_log2) and not repetitive(
            tensor.indices, self._parts[number].entropy_bits or 0.0
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
        self._in_parallel(
            len(ranges), lambda chunk: self._index_levels(h.INDEX_CHUNK, number, [(number, tensor, *ranges[chunk])])
        )

    def _add_dense(self, number: int, stored: NDArray[Any]) -> None:
        record = self._records[number]
        if record.count <= layout.small_values(self.chunk_log2):
            group = self._to_value_group(number, stored, record.shape)
            self._records[number] = replace(record, group=group + 1)
            return
        words = _words(stored)
        ranges = layout.chunk_ranges(record.count, self.chunk_log2)

        def encode(chunk: int) -> list[_Section]:
            start, stop = ranges[chunk]
            stream = Stream("values", stop - start, 0, record.stored, record.shape, start)
            return [self._encode(h.VALUE_CHUNK, 0, number, "values", [words[start:stop]], [stream], [number])]

        self._in_parallel(len(ranges), encode)

    def _in_parallel(self, count: int, encode: "Callable[[int], list[_Section]]") -> None:
        """Encode `count` chunks, a few at a time, and put them in order."""
        step = max(self.threads, 1) * 2
        for first in range(0, count, step):

            def one(number: int, first: int = first) -> list[_Section]:
                return encode(first + number)

            for sections in run(min(step, count - first), self.threads, one):
                for section in sections:
                    self._put(section)

    def _to_value_group(self, number: int, stored: NDArray[Any], shape: tuple[int, ...]) -> int:
        """Put values into the open group of their type, and give the group's number.

        A tensor's codebooks must share one group, and groups list their members in tensor order, so a group is
        flushed only between tensors.
        """
        kind = dtype_id(stored.dtype)
        members = self._value_groups.get(kind, [])
        full = sum(stream.count for _, _, stream in members) + stored.size > layout.group_values(self.chunk_log2)
        if members and full and members[-1][0] != number:
            self._flush_values(kind)
        if kind not in self._value_groups:
            self._value_groups[kind] = []
            self._value_numbers[kind] = self._groups[1]
            self._groups[1] += 1
        stream = Stream("values", stored.size, 0, kind, shape)
        self._value_groups[kind].append((number, _words(stored), stream))
        return self._value_numbers[kind]

    def _flush_values(self, kind: int) -> None:
        members = self._value_groups.pop(kind)
        parts, streams = [words for _, words, _ in members], [stream for _, _, stream in members]
        number = self._value_numbers[kind]
        self._put(self._encode(h.VALUES, 0, number, "values", parts, streams, [n for n, _, _ in members]))

    def _flush_indices(self) -> None:
        if self._index_group:
            parts = [(number, tensor, 0, tensor.indices.size) for number, tensor in self._index_group]
            for section in self._index_levels(h.INDICES, self._groups[0], parts):
                self._put(section)
            self._groups[0] += 1
            self._index_group = []

    def _index_levels(
        self, kind: int, owner: int, members: list[tuple[int, SharedTensor, int, int]]
    ) -> "list[_Section]":
        """One section a level: coarse indices first, then for each refinement which child of its parent it is."""
        sections = []
        depth = max(len(self._records[number].levels) for number, *_ in members)
        for level in range(depth):
            parts, streams, numbers = [], [], []
            for number, tensor, start, stop in members:
                record = self._records[number]
                if level >= len(record.levels):
                    continue
                here = tensor.at_level(level).indices.reshape(-1)[start:stop]
                stream = layout.index_stream(record, level, start, stop)
                if level:
                    above = tensor.at_level(level - 1).indices.reshape(-1)[start:stop]
                    first = np.cumsum((0, *stream.children[:-1]))
                    here = (here - first.take(above)).astype(word_dtype(stream))
                    stream = replace(stream, parents=above)
                parts.append(np.ascontiguousarray(here, dtype=word_dtype(stream)))
                streams.append(stream)
                numbers.append(number)
            sections.append(self._encode(kind, level, owner, "indices", parts, streams, numbers))
        return sections

    def _encode(
        self,
        kind: int,
        level: int,
        owner: int,
        content: Kind,
        parts: list[Array],
        streams: list[Stream],
        numbers: list[int],
    ) -> "_Section":
        choice = choose(content, parts, streams, self.codecs)
        record = h.SectionRecord(kind, choice.codec.id, level, owner, len(choice.payload), crc32(choice.payload))
        weights = [_code_length(part, stream) for part, stream in zip(parts, streams, strict=True)]
        total = sum(weights) or 1.0
        shares = [(number, len(choice.payload) * w / total) for number, w in zip(numbers, weights, strict=True)]
        return _Section(record, choice, content, shares)

    def _put(self, encoded: "_Section") -> None:
        section, choice = encoded.record, encoded.choice
        for number, share in encoded.shares:
            self._parts[number].add(choice, share, encoded.content)
        if section.level not in self._spools:
            try:
                self._spools[section.level] = tempfile.TemporaryFile(dir=self.path.parent)  # noqa: SIM115
            except OSError as error:
                raise OutputNotWritableError(
                    f"{self.path}: can't be written ({error.strerror}); choose another output path"
                ) from error
        try:
            self._spools[section.level].write(choice.payload)
        except OSError as error:
            raise OutputNotWritableError(f"{self.path}: can't be written ({error.strerror}); free space") from error
        self._sections.setdefault(section.level, []).append(section)

    def _finish(self) -> None:
        for kind in sorted(self._value_groups):
            self._flush_values(kind)
        self._flush_indices()
        blobs: list[tuple[h.SectionRecord, bytes]] = []
        meta = (
            b""
            if not self._meta
            else json.dumps(
                self._meta, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
            ).encode()
        )
        sizes = {h.GRAPH: 0, h.META: 0}
        for kind, data in ((h.GRAPH, self._graph), (h.META, meta or None)):
            if data is not None:
                choice = blob(data)
                payload = choice.payload
                blobs.append(
                    (h.SectionRecord(kind, choice.codec.id, 0, 0, len(payload), crc32(payload), len(data)), payload)
                )
                sizes[kind] = len(payload)
        sections = [section for section, _ in blobs]
        for level in sorted(self._sections):
            sections += self._sections[level]
        header = h.Header(tuple(self._records), tuple(sections), self.digest_bytes, self.chunk_log2)
        data = h.write_header(header)
        choice = blob(data)
        stored = choice.payload
        places, end = layout.offsets(sections, h.PREFIX_BYTES + len(stored))
        prefix = h.Prefix(h.VERSION, choice.codec.id, len(stored), len(data), end, crc32(stored))
        with atomic_file(self.path) as stream:
            stream.write(h.write_prefix(prefix))
            stream.write(stored)
            for _, payload in blobs:
                stream.write(payload)
            for spool in self._spools.values():
                spool.flush()
            written = len(blobs)
            for level in sorted(self._sections):
                spool = self._spools[level]
                spool.seek(0)
                for section in self._sections[level]:
                    stream.write(bytes(places[written] - stream.tell()))
                    _copy(spool, stream, section.stored_bytes)
                    written += 1
        payloads = sum(section.stored_bytes for section in sections)
        reports = tuple(self._tensor_report(number) for number in range(len(self._records)))
        self.report = WriteReport(end, sizes[h.GRAPH], sizes[h.META], end - payloads, reports)

    def _tensor_report(self, number: int) -> TensorReport:
        record, part = self._records[number], self._parts[number]
        shared = bool(record.levels)
        reason = part.reason
        if part.same is not None:
            reason = f"same content as {self._records[part.same].name}, stored once"
        return TensorReport(
            record.name,
            record.shape,
            dtype_name(record.dtype),
            record.levels[-1] if shared else None,
            "+".join(part.codecs) or "none",
            round(part.bytes),
            record.count,
            part.entropy_bits if part.same is None else self._parts[part.same].entropy_bits,
            part.candidates,
            reason,
            self.side if record.stored != record.dtype else "exact",
        )


@dataclass(frozen=True)
class _Section:
    """An encoded section and how many of its bytes each tensor is charged with."""

    record: h.SectionRecord
    choice: Choice
    content: Kind
    shares: list[tuple[int, float]]


class _Part:
    """What is gathered of one tensor for its report."""

    def __init__(self, stored: int, same: int | None = None) -> None:
        self.stored = stored
        self.same = same
        self.bytes = 0.0
        self.codecs: list[str] = []
        self.candidates: dict[str, int] = {}
        self.reason = ""
        self.entropy_bits: float | None = None

    def add(self, choice: Choice, share: float, content: Kind) -> None:
        self.bytes += share
        if content == "values" and self.entropy_bits is not None:
            return  # a codebook: counted, but the tensor's codec is that of its indices
        if choice.codec.name not in self.codecs:
            self.codecs.append(choice.codec.name)
        for name, size in choice.candidates.items():
            self.candidates[name] = self.candidates.get(name, 0) + size
        self.reason = choice.reason


def blob(data: bytes) -> Choice:
    """The smallest form of a byte string (graph, metadata, header)."""
    return choose("values", [np.frombuffer(data, np.uint8)], [Stream("values", len(data))], ("raw", "zstd", "lzma"))


def entropy(indices: NDArray[Any], k: int) -> float:
    """Order-0 entropy of indices in bits a weight; 0 for none."""
    if not indices.size:
        return 0.0
    counts = np.bincount(indices.reshape(-1), minlength=k)
    share = counts[counts > 0] / indices.size
    return float(-(share * np.log2(share)).sum())


def repetitive(indices: NDArray[Any], bits: float) -> bool:
    """Whether indices repeat themselves so much that they are better off alone, where a dictionary codec may win."""
    data = np.ascontiguousarray(indices).tobytes()
    return indices.size >= _ALONE_FROM and 8 * len(compress(data, level=3)) < bits * indices.size


def _code_length(part: Array, stream: Stream) -> float:
    if stream.kind == "values":
        return float(stream.count * part.itemsize)
    return entropy(part, max(stream.alphabet, 1)) * stream.count + 1


def _words(stored: NDArray[Any]) -> Array:
    words: Array = np.ascontiguousarray(stored).reshape(-1).view(f"<u{stored.dtype.itemsize}")
    return words


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _copy(source: IO[bytes], target: IO[bytes], count: int) -> None:
    while count:
        data = source.read(min(count, _COPY))
        if not data:
            raise OSError("a spool file is shorter than what was written to it")
        target.write(data)
        count -= len(data)


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
) -> WriteReport:
    """Write tensors (numpy arrays or SharedTensors), an optional graph and a JSON object to one container.

    side: precision of float32 codebooks and vectors ("exact", or "fp16" down to "fp9": see `stored_values`); codecs:
    names of the codecs to choose from (raw always among them), all by default; chunk_log2: log2 of the values in a
    chunk of a large tensor. The same input gives the same bytes, whatever `threads` is. Raises UnsupportedTensorError
    or OutputNotWritableError; nothing is left behind then.
    """
    options: dict[str, Any] = {"side": side, "threads": threads, "digest_bytes": digest_bytes, "codecs": codecs}
    options["chunk_log2"] = chunk_log2
    with Writer(path, graph=graph, meta=meta, **options) as writer:
        for name, tensor in tensors.items():
            writer.add(name, tensor)
    assert writer.report is not None
    return writer.report


__all__ = ["Tensor", "Writer", "save_file"]
