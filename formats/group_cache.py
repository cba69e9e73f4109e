"""Keep decoded groups in memory, and check how often a file's groups must be decoded to read all of its tensors."""

from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import Generic, TypeVar

from qacomp.formats.budget import check_decoded
from qacomp.formats.dtypes import itemsize_of
from qacomp.formats.errors import LimitExceededError
from qacomp.formats.layout import Members
from qacomp.formats.limits import Limits
from qacomp.formats.records import DENSE, INDEX_CHUNK, INDICES, SAME, SHARED, VALUE_CHUNK, VALUES, Header, TensorRecord

CACHED_BYTES = 32 << 20
ALLOWED_BYTES = 1 << 28
"""Bytes that may be decoded for any file, however small."""

K = TypeVar("K")
T = TypeVar("T")


class GroupCache(Generic[K, T]):
    """The groups used last: of each kind one larger than CACHED_BYTES, and as many smaller ones as fit into it."""

    def __init__(self) -> None:
        self._large: dict[int, tuple[K, T]] = {}
        self._small: dict[K, tuple[T, int]] = {}
        self._bytes = 0

    def get(self, key: K, make: Callable[[], tuple[T, int]], kind: int) -> T:
        """Return the group with this key; if it isn't kept, call `make`, which returns the group and its bytes."""
        if kind in self._large and self._large[kind][0] == key:
            return self._large[kind][1]
        if key in self._small:
            self._small[key] = kept = self._small.pop(key)  # the dict is ordered by use: the most recent comes last
            return kept[0]
        made, size = make()
        if size > CACHED_BYTES:
            self._large[kind] = key, made
            return made
        self._small[key] = made, size
        self._bytes += size
        while self._bytes > CACHED_BYTES:
            self._bytes -= self._small.pop(next(iter(self._small)))[1]
        return made

    def clear(self) -> None:
        """Drop all groups."""
        self._large, self._small, self._bytes = {}, {}, 0


def check_work(header: Header, members: Members, size: int, limits: Limits) -> Counter[tuple[int, int, int, int]]:
    """Count how often each section, (kind, level, owner, chunk), is decoded while all tensors are read in order.

    Nothing is decoded here. In a file from qacomp a group holds tensors that follow one another, so each group is
    decoded once. Raises LimitExceededError if large groups alternate, so that each would be decoded again for every
    tensor, and if all decoded tensors together are larger than a file of `size` bytes may claim.
    """
    check_decoded(sum(record.nbytes + record.book_bytes for record in header.tensors), size, limits)
    work, sizes, cache = 0, _Sizes(header, members), GroupCache[tuple[int, int, int], None]()
    times: Counter[tuple[int, int, int, int]] = Counter()

    def decode(key: tuple[int, int, int]) -> tuple[None, int]:
        nonlocal work
        work += sizes[key]
        kind, group, level = key
        times[kind, level, group, 0] += 1
        return None, sizes[key]

    readings = Counter(r.same_as if r.kind == SAME else number for number, r in enumerate(header.tensors))
    for number, record in enumerate(header.tensors):
        for key in _groups(header.tensors[record.same_as] if record.kind == SAME else record):
            cache.get(key, partial(decode, key), key[0])
        if record.kind != SAME and not record.group:
            times.update(dict.fromkeys(_own_chunks(header, number, record), readings[number]))
    if work > max(ALLOWED_BYTES, limits.repeats * sum(sizes.values())):
        raise LimitExceededError(
            f"its groups of small tensors alternate, so {work} bytes would be decoded to read {sum(sizes.values())}; "
            "if you trust the file, raise Limits.repeats"
        )
    return times


def _own_chunks(header: Header, number: int, record: TensorRecord) -> Iterator[tuple[int, int, int, int]]:
    kind = INDEX_CHUNK if record.kind == SHARED else VALUE_CHUNK
    chunks = -(-record.count >> header.chunk_log2)
    return ((kind, level, number, chunk) for level in range(record.stored_levels) for chunk in range(chunks))


def _groups(record: TensorRecord) -> Iterator[tuple[int, int, int]]:
    """Yield (kind, group, level) of the group sections that are decoded for a tensor."""
    if record.kind == SHARED and record.book_group:
        yield VALUES, record.book_group - 1, 0
    if record.kind == SHARED and record.group:
        yield from ((INDICES, record.group - 1, level) for level in range(record.stored_levels))
    if record.kind == DENSE and record.group:
        yield VALUES, record.group - 1, 0


class _Sizes(dict[tuple[int, int, int], int]):
    """The decoded bytes of each (kind, group, level), counted on first use."""

    def __init__(self, header: Header, members: Members) -> None:
        self._header, self._members = header, members

    def __missing__(self, key: tuple[int, int, int]) -> int:
        kind, group, _ = key
        tensors = self._header.tensors
        if kind == VALUES:
            streams = self._members.value_streams(tensors, group)
            size = sum(stream.count * itemsize_of(stream.dtype) for stream in streams)
        else:  # the parts of a level hold the indices of all tensors of the group, also of those with fewer levels
            size = sum(tensors[n].count * (1 + (tensors[n].levels[-1] > 256)) for n in self._members.indices[group])
        self[key] = size
        return size
