"""What writing and checking a container tell: measured bytes, for each tensor and for the whole file."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class TensorReport:
    """One written tensor.

    bytes: its part of the stored sections, codebooks included, as a reader charges it (see `TensorInfo`); values:
    elements; entropy_bits: order-0 entropy of the indices in bits a weight, None for a dense tensor; candidates: what
    each codec tried would have taken for the sections that hold it; reason: why the codec was chosen; precision: how
    its codebook or vector is stored, "exact" or "fp16" down to "fp9"; blocks: block shape of its codebooks, or None.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    k: int | None
    codec: str
    bytes: int
    values: int
    entropy_bits: float | None
    candidates: Mapping[str, int] = field(default_factory=dict)
    reason: str = ""
    precision: str = "exact"
    blocks: tuple[int, ...] | None = None


@dataclass(frozen=True)
class WriteReport:
    """One written file; all sizes are bytes in it. overhead_bytes: prefix, header and padding, with all names."""

    container_bytes: int
    graph_bytes: int
    meta_bytes: int
    overhead_bytes: int
    tensors: tuple[TensorReport, ...]


@dataclass(frozen=True)
class SectionInfo:
    """One section of a file, for inspection: what it holds, where it stands, its checksum."""

    kind: str
    codec: str
    level: int
    tensors: tuple[str, ...]
    offset: int
    bytes: int
    crc: int


@dataclass(frozen=True)
class TensorInfo:
    """What a reader knows of a tensor without decoding it.

    dtype: of the array that `tensor` gives; stored_dtype: of the values or codebook in the file; k: codebook size or
    None; levels: all codebook sizes, the coarsest first; bytes: stored bytes of its own chunks, or its even part (by
    values) of the sections that it shares, 0 where another tensor has its content; digest: BLAKE2b of its decoded
    bytes, in hex; same_as: the tensor whose content it shares; blocks: block shape of its codebooks, of k values each,
    or None for one codebook.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    stored_dtype: str
    k: int | None
    levels: tuple[int, ...]
    codec: str
    bytes: int
    values: int
    bits_per_weight: float
    digest: str
    same_as: str | None
    blocks: tuple[int, ...] | None = None


@dataclass(frozen=True)
class VerifyReport:
    """A file whose every checksum and tensor digest was found right."""

    container_bytes: int
    sections: tuple[SectionInfo, ...]
    tensors: tuple[TensorInfo, ...]
    version: tuple[int, int]
