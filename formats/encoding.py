"""Encode sections: collect the streams of each level, and choose the codec that makes a section smallest."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qacomp.formats import layout
from qacomp.formats.checksums import crc32
from qacomp.formats.codec_choice import LEAVE_OUT, Choice, choose
from qacomp.formats.codecs import Stream
from qacomp.formats.codecs.base import Array, Kind, word_dtype
from qacomp.formats.codecs.zstd import compress
from qacomp.formats.errors import LimitExceededError
from qacomp.formats.kept_choices import KEPT
from qacomp.formats.records import INDEX_CHUNK, INDICES, SectionRecord, TensorRecord
from qacomp.formats.tensors import SharedTensor

_PART = 1 << 22  # indices that are counted at once
_ALONE_FROM = 8192  # a tensor with fewer indices always goes into a group
_NEWER_BYTES = 16  # a file is of a newer version only if that saves at least so many bytes of the graph or metadata
_NESTED_COST = 1.02  # levels are stored at once only if one section a level takes more than this times as much


@dataclass(frozen=True)
class SectionKey:
    """The key of a section: its kind, its level, and the number of the tensor or of the group that owns it."""

    kind: int
    level: int
    owner: int

    @property
    def content(self) -> Kind:
        """Return whether its streams hold "indices" or "values"."""
        return "indices" if self.kind in (INDICES, INDEX_CHUNK) else "values"


@dataclass(frozen=True)
class Section:
    """An encoded section; numbers: the tensors of which it holds a part."""

    record: SectionRecord
    choice: Choice
    content: Kind
    numbers: tuple[int, ...]


@dataclass(frozen=True)
class Member:
    """The indices [start, stop) of a shared tensor, in row-major order, that go into one section."""

    number: int
    record: TensorRecord
    tensor: SharedTensor
    start: int
    stop: int


def encode(
    key: SectionKey,
    parts: Sequence[Array],
    streams: Sequence[Stream],
    numbers: Sequence[int],
    codecs: Sequence[str] | None,
) -> Section:
    """Encode the streams of the tensors `numbers` as one section, with the codec that makes it smallest."""
    choice = KEPT.choose(key.content, parts, streams, codecs)
    size, crc = len(choice.payload), crc32(choice.payload)
    record = SectionRecord(key.kind, choice.codec.id, key.level, key.owner, size, crc)
    return Section(record, choice, key.content, tuple(numbers))


def encode_levels(kind: int, owner: int, members: Sequence[Member], codecs: Sequence[str] | None) -> list[Section]:
    """Encode one section for each level: the coarsest indices, then at each finer level the number of the child."""
    sections = []
    for level in range(max(member.record.stored_levels for member in members)):
        parts, streams, numbers = [], [], []
        for member in members:
            if level < member.record.stored_levels:
                part, stream = _at_level(member, level)
                parts.append(part)
                streams.append(stream)
                numbers.append(member.number)
        sections.append(encode(SectionKey(kind, level, owner), parts, streams, numbers, codecs))
    return sections


def at_once(member: Member, codecs: Sequence[str] | None) -> bool:
    """Return whether storing only the finest indices (all levels at once) is clearly smaller than one section a level.

    That happens if a dictionary codec finds repetitions, which it would otherwise have to encode for each level.
    """
    if len(member.record.levels) < 2:
        return False
    nested = encode_levels(INDEX_CHUNK, 0, [member], codecs)
    whole = replace(member, record=replace(member.record, at_once=True))
    alone = encode_levels(INDEX_CHUNK, 0, [whole], codecs)
    sizes = [sum(section.record.stored_bytes for section in sections) for sections in (nested, alone)]
    return sizes[0] > _NESTED_COST * sizes[1]


def _at_level(member: Member, level: int) -> tuple[Array, Stream]:
    """Return a member's symbols at a level, and the stream that describes them."""
    span = slice(member.start, member.stop)
    tensor = member.tensor
    here = (tensor if member.record.at_once else tensor.at_level(level)).indices.reshape(-1)[span]
    stream = layout.index_stream(member.record, level, member.start, member.stop)
    if level:
        above = member.tensor.at_level(level - 1).indices.reshape(-1)[span]
        first = np.cumsum((0, *stream.children[:-1]))
        here = (here - first.take(above)).astype(word_dtype(stream))
        stream = replace(stream, parents=above)
    return np.ascontiguousarray(here, dtype=word_dtype(stream)), stream


def blob(
    data: bytes, check: Callable[[int, int], None], newer: Sequence[str] = (), codecs: Sequence[str] | None = None
) -> Choice:
    """Encode a byte string (graph, metadata, header) in the smallest form that readers accept.

    check: called with (stored bytes, decoded bytes); raises LimitExceededError if readers would refuse the ratio;
    newer: codecs that older readers don't have, taken only if they save enough bytes; codecs: names, of which
    only those count that leave a codec out.
    """
    part, stream = np.frombuffer(data, np.uint8), Stream("values", len(data))
    out = [name for name in codecs or () if name.startswith(LEAVE_OUT)]
    choices = [KEPT.choose("values", [part], [stream], ("raw", "zstd", "lzma", *out))]
    choices += [KEPT.choose("values", [part], [stream], (name, "raw", *out)) for name in newer]
    sizes = [len(choice.payload) + (_NEWER_BYTES if n else 0) for n, choice in enumerate(choices)]
    choice = choices[sizes.index(min(sizes))]
    try:
        check(len(choice.payload), len(data))
    except LimitExceededError:
        return choose("values", [part], [stream], ("raw",))
    return choice


def words(stored: NDArray[Any]) -> Array:
    """Return an array's elements as unsigned integers of the same size, flat."""
    flat: Array = np.ascontiguousarray(stored).reshape(-1).view(f"<u{stored.dtype.itemsize}")
    return flat


def symbol_entropy(counts: NDArray[np.int64]) -> float:
    """Compute the order-0 entropy of symbols that occur so often, in bits per symbol; 0.0 if there are none."""
    share = counts[counts > 0] / max(int(counts.sum()), 1)
    return float(-(share * np.log2(share)).sum()) + 0.0


def index_counts(indices: NDArray[Any], k: int = 0) -> NDArray[np.int64]:
    """Count how often each index occurs: (K,). In parts, since counting takes eight bytes for each index."""
    flat, counts = indices.reshape(-1), np.zeros(k, np.int64)
    for start in range(0, flat.size, _PART):
        part = np.bincount(flat[start : start + _PART], minlength=counts.size)
        part[: counts.size] += counts
        counts = part
    return counts


def repetitive(indices: NDArray[Any], bits: float) -> bool:
    """Return whether a dictionary codec takes less than `bits` per index, because the indices repeat themselves."""
    data = np.ascontiguousarray(indices).tobytes()
    return indices.size >= _ALONE_FROM and 8 * len(compress(data, level=3)) < bits * indices.size
