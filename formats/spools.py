"""Keep coded sections in temporary files, one for each level, until the header, which comes first, is known."""

import contextlib
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from qacomp.formats import layout
from qacomp.formats.atomic import atomic_file
from qacomp.formats.budget import check_header
from qacomp.formats.checksums import crc32
from qacomp.formats.destination import not_writable
from qacomp.formats.encoding import blob
from qacomp.formats.header import write_header
from qacomp.formats.merkle import HASH_BYTES, leaf_hash, root_of
from qacomp.formats.prefix import PREFIX_BYTES, Prefix, write_prefix
from qacomp.formats.records import Header, SectionRecord, TensorRecord

_COPY = 1 << 20
_LEAF_SHARE = 1000  # leaf hashes are worth it in a file of so many times their bytes: below, it is fetched whole


@dataclass(frozen=True)
class Assembled:
    """A file that was written. size: its bytes; overhead: those outside the sections; root: in hex."""

    header: Header
    size: int
    overhead: int
    root: str


class Spools:
    """The sections of the future file `path`, by level; the temporary files are in its folder and have no name.

    durable: see `atomic_file`; codecs: those of the writer, of which some may be left out of the header; leaves: see
    `Coding`.
    """

    def __init__(
        self,
        path: Path,
        *,
        durable: bool = True,
        codecs: Sequence[str] | None = None,
        leaves: bool | None = None,
    ) -> None:
        self.path, self._durable, self._codecs, self._leaves = path, durable, codecs, leaves
        self._files: dict[int, IO[bytes]] = {}
        self._records: dict[int, list[SectionRecord]] = {}
        self.stored_bytes = 0
        """Bytes of all sections that were put."""

    @property
    def records(self) -> list[SectionRecord]:
        """Return the records of all sections in the order of the file: by level, then as they were put."""
        return [record for level in sorted(self._records) for record in self._records[level]]

    def put(self, record: SectionRecord, payload: bytes | memoryview) -> None:
        """Append a section to its level; raises OutputNotWritableError."""
        if record.level not in self._files:
            try:
                self._files[record.level] = tempfile.TemporaryFile(dir=self.path.parent)  # noqa: SIM115
            except OSError as error:
                raise not_writable(self.path, error) from error
        try:
            self._files[record.level].write(payload)
        except OSError as error:
            raise not_writable(self.path, error) from error
        self._records.setdefault(record.level, []).append(replace(record, leaf=leaf_hash(payload)))
        self.stored_bytes += record.stored_bytes

    def close(self) -> None:
        """Close the temporary files, which removes them."""
        for file in self._files.values():
            with contextlib.suppress(OSError):  # a full disk: closing can't flush, but the data isn't needed any more
                file.close()

    def assemble(
        self,
        tensors: Sequence[TensorRecord],
        blobs: Sequence[tuple[SectionRecord, bytes]],
        digest_bytes: int,
        chunk_log2: int,
    ) -> Assembled:
        """Write the whole file, blobs first. Raises OutputNotWritableError."""
        sections = [replace(record, leaf=leaf_hash(payload)) for record, payload in blobs] + self.records
        inside = sum(section.stored_bytes for section in sections)
        leaves = self._leaves
        if leaves is None:
            leaves = HASH_BYTES * len(sections) * _LEAF_SHARE <= inside
        header = Header(tuple(tensors), tuple(sections), digest_bytes, chunk_log2, leaves)
        data = write_header(header)
        choice = blob(data, check_header, (), self._codecs)
        stored = choice.payload
        places, end = layout.offsets(sections, PREFIX_BYTES + len(stored))
        prefix = Prefix(header.version, choice.codec.id, len(stored), len(data), end, crc32(stored), header.flags)
        start = write_prefix(prefix)
        root = root_of([leaf_hash(start, stored), *(section.leaf for section in sections)])
        with atomic_file(self.path, durable=self._durable) as stream:
            stream.write(start)
            stream.write(stored)
            for _, payload in blobs:
                stream.write(payload)
            written = len(blobs)
            for level in sorted(self._files):
                file = self._files[level]
                file.flush()
                file.seek(0)
                for section in self._records[level]:
                    stream.write(bytes(places[written] - stream.tell()))
                    _copy(file, stream, section.stored_bytes)
                    written += 1
        return Assembled(header, end, end - inside, root.hex())


def _copy(source: IO[bytes], target: IO[bytes], count: int) -> None:
    while count:
        data = source.read(min(count, _COPY))
        if not data:
            raise OSError("a temporary file is shorter than the data that was written to it; is the disk full?")
        target.write(data)
        count -= len(data)
