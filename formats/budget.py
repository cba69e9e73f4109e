"""What reading a file may cost: memory and work, held against the bytes that are stored, in one place.

Work is counted in nanoseconds of one core, as each codec foretells them from a payload's first fields (`Codec.work`):
an estimate, the same on every machine. Writers hold what they choose against a part of what readers allow, so that
every file of theirs is read.
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
"""Nanoseconds that a writer allows for each value, each stored byte and each section: half of what readers allow where
sections have a kilobyte or more, and in sections of next to nothing 512 MiB of float32 take less than WORK_FLOOR."""


def check_expansion(what: str, stored: int, decoded: int, floor: int, expansion: int) -> None:
    """Raise LimitExceededError where `stored` bytes claim to hold more than `floor` and `expansion` times as many."""
    if decoded > max(floor, stored * expansion):
        raise LimitExceededError(f"{what} would grow from {stored} to {decoded} bytes; the file is hostile")


def check_header(stored: int, decoded: int) -> None:
    """Hold a header against the bytes that it takes: a tensor or section of it costs tens of microseconds to read."""
    check_expansion("the header", stored, decoded, HEADER_FLOOR, HEADER_EXPANSION)


def check_graph(stored: int, decoded: int) -> None:
    """Hold a graph, whose parser makes objects of every few bytes, against what is stored."""
    check_expansion("the graph", stored, decoded, GRAPH_FLOOR, GRAPH_EXPANSION)


def check_meta(stored: int, decoded: int) -> None:
    """Hold metadata, whose parser makes far larger objects of every few bytes, against what is stored."""
    check_expansion("the metadata", stored, decoded, META_FLOOR, META_EXPANSION)


def check_decoded(decoded: int, size: int, limits: Limits) -> None:
    """Hold what all tensors of a file take together, decoded, against the size of the file."""
    if decoded > max(DECODED_FLOOR, size * limits.expansion):
        raise LimitExceededError(
            f"its tensors would grow from {size} to {decoded} bytes; the file is hostile, or raise the limit"
        )


def section_bytes(codec: Codec, streams: Sequence[Stream]) -> int:
    """Estimate the most bytes that decoding a section takes at once."""
    return sum(stream.count * (word_dtype(stream).itemsize + codec.footprint) for stream in streams)


def affordable(codec: Codec, payload: bytes, streams: Sequence[Stream]) -> bool:
    """Return whether a writer may choose this form of a section: every reader has the memory and the time for it."""
    if section_bytes(codec, streams) > max(SECTION_FLOOR, len(payload) * Limits().expansion):
        return False
    values = sum(stream.count for stream in streams)
    allowed = values * _WRITER_VALUE + len(payload) * _WRITER_BYTE + _WRITER_SECTION
    return codec.work(memoryview(payload), streams) <= allowed


class Budget:
    """The work that reading all of a file may take, spent as its sections are decoded for the first time.

    times: how often each section is decoded while all tensors are read in order, where that is more than once.
    """

    def __init__(self, size: int, limits: Limits, times: Mapping[int, int]) -> None:
        self.allowed = max(WORK_FLOOR, size * limits.work)
        self._times = times
        self._paid: set[int] = set()
        self._spent = 0

    def spend(self, place: int, work: int) -> None:
        """Take a section's work off; raises LimitExceededError where that is more than what is left."""
        if place in self._paid:
            return
        self._paid.add(place)
        self._spent += work * self._times.get(place, 1)
        if self._spent > self.allowed:
            self._paid.discard(place)
            raise LimitExceededError(
                f"section {place} and those before would take {self._spent / 1e9:.1f} seconds of decoding, more than a"
                " file of its size may; the file is hostile, or raise the limit"
            )
