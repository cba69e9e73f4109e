"""Limit the memory and the work that reading a file may take, in proportion to its stored bytes.

Work is an estimate in nanoseconds of one core. Each codec calculates it from the first fields of a payload
(`Codec.work`), so it is the same on every machine. A writer keeps to a part of what readers allow, so that every file
that it writes can be read.
"""

from collections.abc import Mapping, Sequence

from qacomp.formats.codecs.base import Codec, Stream, word_dtype
from qacomp.formats.errors import LimitExceededError
from qacomp.formats.limits import (
    DECODED_FLOOR,
    GRAPH_EXPANSION,
    GRAPH_FLOOR,
    HEADER_EXPANSION,
    HEADER_FLOOR,
    META_EXPANSION,
    META_FLOOR,
    SECTION_FLOOR,
    WORK_FLOOR,
    Limits,
)

_WRITER_VALUE, _WRITER_BYTE, _WRITER_SECTION = 32, 100_000, 100_000_000
"""Nanoseconds that a writer allows for each value, each stored byte and each section. Readers allow twice as many for
a byte (`Limits.work`) and WORK_FLOOR for a whole file, which leaves room for values and sections."""


def check_expansion(what: str, stored: int, decoded: int, floor: int, expansion: int) -> None:
    """Raise LimitExceededError if `decoded` is above both `floor` and `expansion` times `stored`, all in bytes."""
    if decoded > max(floor, stored * expansion):
        raise LimitExceededError(f"{what} would grow from {stored} to {decoded} bytes; the file is hostile")


def check_header(stored: int, decoded: int) -> None:
    """Check a header's decoded size against its stored size; reading one of its records takes many microseconds."""
    check_expansion("the header", stored, decoded, HEADER_FLOOR, HEADER_EXPANSION)


def check_graph(stored: int, decoded: int) -> None:
    """Check a graph's decoded size against its stored size; its parser makes an object of every few bytes."""
    check_expansion("the graph", stored, decoded, GRAPH_FLOOR, GRAPH_EXPANSION)


def check_meta(stored: int, decoded: int) -> None:
    """Check the metadata's decoded size against its stored size; its parser makes a large object of every few bytes."""
    check_expansion("the metadata", stored, decoded, META_FLOOR, META_EXPANSION)


def check_decoded(decoded: int, size: int, limits: Limits) -> None:
    """Check the decoded bytes of all tensors of a file together against the size of the file, in bytes."""
    if decoded > max(DECODED_FLOOR, size * limits.expansion):
        raise LimitExceededError(
            f"its tensors would grow from {size} to {decoded} bytes; if you trust the file, raise Limits.expansion"
        )


def section_bytes(codec: Codec, streams: Sequence[Stream]) -> int:
    """Estimate the peak memory of decoding a section, in bytes."""
    return sum(stream.count * (word_dtype(stream).itemsize + codec.footprint) for stream in streams)


def affordable(codec: Codec, payload: bytes, streams: Sequence[Stream]) -> bool:
    """Return whether a writer may store a section so: every reader has the memory and the time to decode it."""
    if section_bytes(codec, streams) > max(SECTION_FLOOR, len(payload) * Limits().expansion):
        return False
    values = sum(stream.count for stream in streams)
    allowed = values * _WRITER_VALUE + len(payload) * _WRITER_BYTE + _WRITER_SECTION
    return codec.work(memoryview(payload), streams) <= allowed


class Budget:
    """The work that reading a whole file may take; each section is charged when it is decoded for the first time.

    times: how often each section, by place, is decoded while all tensors are read in order; a section not in it: once.
    """

    def __init__(self, size: int, limits: Limits, times: Mapping[int, int]) -> None:
        self.allowed = max(WORK_FLOOR, size * limits.work)
        self._times = times
        self._paid: set[int] = set()
        self._spent = 0

    def spend(self, place: int, work: int) -> None:
        """Charge a section's work, in nanoseconds; raises LimitExceededError if that is more than what is left."""
        if place in self._paid:
            return
        self._paid.add(place)
        self._spent += work * self._times.get(place, 1)
        if self._spent > self.allowed:
            self._paid.discard(place)
            raise LimitExceededError(
                f"decoding section {place} and the sections before it would take {self._spent / 1e9:.1f} seconds, more"
                " than a file of this size may; if you trust the file, raise Limits.work"
            )
