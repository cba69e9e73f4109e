"""Take a tensor out of one container for another one, without decoding and coding the sections that it has alone."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from numpy.typing import NDArray

from qacomp.formats.account import Account
from qacomp.formats.container import Container
from qacomp.formats.dtypes import dtype_of
from qacomp.formats.errors import FormatError, UnsupportedTensorError
from qacomp.formats.records import INDEX_CHUNK, OWN_CHUNKS, SHARED, VALUE_CHUNK, SectionRecord, TensorRecord
from qacomp.formats.tensor_records import Tensor
from qacomp.formats.tensors import precision_bits

_KEY_BYTES = 16  # of the key that `tensor_records.identity` gives


def details(account: Account, key: bytes) -> dict[str, Any]:
    """Return what the container of a tensor doesn't tell of it, as JSON values."""
    told: dict[str, Any] = {"key": key.hex(), "precision": account.precision}
    if account.reason:
        told |= {"codecs": account.codecs, "candidates": account.candidates, "reason": account.reason}
    if account.entropy_bits is not None:
        told["entropy"] = account.entropy_bits
    return told


@dataclass(frozen=True)
class HeldTensor:
    """A tensor of an open container, with the details that its writer returned for it (see `Writer.details`)."""

    container: Container
    name: str
    told: Mapping[str, Any]

    def record(self, chunk_log2: int, digest_bytes: int) -> TensorRecord:
        """Return its record with its own name and digest. Raises UnsupportedTensorError for other chunks or digests."""
        header = self.container.header
        if (header.chunk_log2, header.digest_bytes) != (chunk_log2, digest_bytes):
            raise UnsupportedTensorError(
                f"{self.container.source}: has other chunks or digests than the file to write; write it again"
            )
        record, _ = self.container.content(self.name)
        own = next(r for r in header.tensors if r.name == self.name)
        return replace(record, name=self.name, digest=own.digest)

    @property
    def has_own_sections(self) -> bool:
        """Return whether its indices or values have sections of their own, which can be copied."""
        return self.container.content(self.name)[0].group == OWN_CHUNKS

    @property
    def precision(self) -> str:
        """Return the precision that its codebook or vector was written with. Raises FormatError."""
        told = self.told.get("precision")
        try:
            precision_bits(told if isinstance(told, str) else "")
        except ValueError as error:
            raise self._damaged("precision") from error
        return str(told)

    @property
    def key(self) -> bytes:
        """Return the key that is equal for equal contents. Raises FormatError."""
        told = self.told.get("key")
        try:
            key = bytes.fromhex(told if isinstance(told, str) else "")
        except ValueError as error:
            raise self._damaged("key") from error
        if len(key) != _KEY_BYTES:
            raise self._damaged("key")
        return key

    def tensor(self) -> Tensor:
        """Decode the tensor."""
        record, _ = self.container.content(self.name)
        return self.container.shared(self.name) if record.kind == SHARED else self.container.tensor(self.name)

    def stored_books(self) -> list[NDArray[Any]]:
        """Decode the codebooks of all levels, the coarsest first, in the type in which they are stored."""
        record, _ = self.container.content(self.name)
        books = (self.container.codebook(self.name, level) for level in range(len(record.levels)))
        return [book.astype(dtype_of(record.stored), copy=False) for book in books]

    def sections(self) -> Iterator[tuple[SectionRecord, memoryview]]:
        """Yield the record and the bytes of each of its own sections in the file's order. Raises FormatError."""
        number = self.container.content(self.name)[1]
        for place, section in enumerate(self.container.header.sections):
            if section.kind in (VALUE_CHUNK, INDEX_CHUNK) and section.owner == number:
                yield section, self.container.stored(place)

    def fill(self, account: Account) -> None:
        """Set codecs, sizes, reason and entropy of the tensor's line in the report. Raises FormatError."""
        codecs, sizes, entropy = self.told.get("codecs"), self.told.get("candidates"), self.told.get("entropy")
        if not (isinstance(codecs, list) and isinstance(sizes, dict) and isinstance(entropy, float | int | None)):
            raise self._damaged("report")
        if not all(isinstance(size, int) for size in sizes.values()):
            raise self._damaged("report")
        account.restore([str(codec) for codec in codecs], dict(sizes), str(self.told.get("reason")), entropy)

    def _damaged(self, what: str) -> FormatError:
        return FormatError(f"{self.container.source}: has no valid {what} of tensor {self.name[:80]!r}; write it again")
