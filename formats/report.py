"""Report measured bytes after writing or checking a container: for each tensor, each section and the whole file."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class TensorReport:
    """One written tensor.

    dtype: element type of the decoded tensor; k: size of the finest codebook, None for a dense tensor; bytes: stored
    bytes, with codebooks, counted as in `TensorInfo`; values: number of values; entropy_bits: order-0 entropy of the
    indices in bits per weight, None for a dense tensor; candidates: bytes that the tensor's sections would take, by
    name of each codec that was tried; reason: why the codec was chosen; precision: in which the codebook or vector is
    stored, "exact" or "fp16" down to "fp9"; blocks: block shape of its codebooks, or None for one codebook.
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
    """One written file; all sizes are in stored bytes. overhead_bytes: prefix, header (with all names) and padding.

    root: the hash that binds all bytes of the file, in hex; "" if it has several files.
    """

    container_bytes: int
    graph_bytes: int
    meta_bytes: int
    overhead_bytes: int
    tensors: tuple[TensorReport, ...]
    root: str = ""


@dataclass(frozen=True)
class SectionInfo:
    """One section of a file, for `qacomp inspect`: content, codec, level, tensors, offset, stored bytes and CRC-32."""

    kind: str
    codec: str
    level: int
    tensors: tuple[str, ...]
    offset: int
    bytes: int
    crc: int


@dataclass(frozen=True)
class TensorInfo:
    """One tensor of a file, as the header describes it.

    dtype: of the array that `Container.tensor` returns; stored_dtype: of the values or codebook in the file; k: size of
    the finest codebook, None for a dense tensor; levels: all codebook sizes, the coarsest first; bytes: stored bytes of
    its own sections, plus its part of those that it has in common with others: of indices by the entropy of each
    tensor's, of codebooks and dense tensors by their numbers of values. 0 if an earlier tensor has the same content;
    None if that takes decoded indices, which `Container.measured` decodes and `Container.info` doesn't, or indices of
    levels that a file that is cut off doesn't have. bits_per_weight: 8 * bytes / values, or None; digest: BLAKE2b of
    its decoded bytes, in hex; same_as: name of the earlier tensor with the same content, or None; blocks: block shape
    of its codebooks, or None.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    stored_dtype: str
    k: int | None
    levels: tuple[int, ...]
    codec: str
    bytes: int | None
    values: int
    bits_per_weight: float | None
    digest: str
    same_as: str | None
    blocks: tuple[int, ...] | None = None


@dataclass(frozen=True)
class VerifyReport:
    """A file of which every checksum and every tensor digest was checked and is right.

    root: the hash that binds all its bytes, in hex.
    """

    container_bytes: int
    sections: tuple[SectionInfo, ...]
    tensors: tuple[TensorInfo, ...]
    version: tuple[int, int]
    root: str
