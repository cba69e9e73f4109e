"""Read a container from where only ranges of bytes can be fetched, such as a server: no byte twice, few at a time."""

from typing import Protocol, TypeAlias

_HEAD = 4 << 10  # bytes that are fetched first; they hold the header of most files
_AHEAD = 1 << 20  # bytes that are fetched at once where small sections are read one after the other
_SMALL, _STREAK = 256 << 10, 3  # bytes of a small section; how many in a row begin to be fetched together


class RangeSource(Protocol):
    """A file elsewhere. name: for messages, such as its URL; size: in bytes."""

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def size(self) -> int: ...  # noqa: D102

    def fetch(self, start: int, stop: int) -> bytes:
        """Return exactly the bytes [start, stop). Raises an error that names the file if it can't."""
        ...


class Slices(Protocol):
    """Bytes that are read by slices, as those of a memoryview are."""

    def __len__(self) -> int: ...

    def __getitem__(self, place: slice, /) -> memoryview: ...


class Ranges:
    """The bytes of a RangeSource, sliced like a memoryview. The head and the last range that was fetched are kept."""

    def __init__(self, source: RangeSource) -> None:
        self._source = source
        self._kept: list[tuple[int, bytes]] = []
        self._end, self._streak = -1, 0

    def __len__(self) -> int:
        return self._source.size

    def __getitem__(self, place: slice) -> memoryview:
        """Return the bytes of a slice; fetches what isn't kept."""
        start, stop, _ = place.indices(self._source.size)
        stop = max(start, stop)
        if stop == start:
            return memoryview(b"")
        for begin, data in self._kept:
            if begin <= start and stop <= begin + len(data):
                return memoryview(data)[start - begin : stop - begin]
        return self._fetched(start, stop)

    def close(self) -> None:
        """Drop what is kept."""
        self._kept.clear()

    def _fetched(self, start: int, stop: int) -> memoryview:
        if not self._kept:
            head = self._source.fetch(0, min(self._source.size, max(_HEAD, stop if start < _HEAD else 0)))
            self._kept.append((0, head))
            if stop <= len(head):
                return memoryview(head)[start:stop]
        small = stop - start < _SMALL
        self._streak = self._streak + 1 if small and 0 <= start - self._end < 64 else 0
        last = min(self._source.size, max(stop, start + _AHEAD)) if self._streak >= _STREAK else stop
        data = self._source.fetch(start, last)
        self._end = last
        self._kept[1:] = [(start, data)]
        return memoryview(data)[: stop - start]


Data: TypeAlias = memoryview | Slices
"""The bytes of a file, in memory or elsewhere."""
