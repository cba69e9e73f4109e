"""Give back the pages of a mapped file as it is read: until then they count as memory of the process.

A file of gigabytes, read from start to end, would count whole. What is given back is read from the file again, should
anyone look there, so arrays that lie in the map stay valid.
"""

import mmap

_MOST = 64 << 20  # bytes that are read before pages are given back


class MappedPages:
    """The pages of a map. Where the system can't give pages back, nothing is done."""

    def __init__(self, mapped: mmap.mmap) -> None:
        self._mapped, self._read = mapped, 0

    def touch(self, size: int) -> None:
        """Note that `size` bytes are read next, and give back the pages of those before, if they were many."""
        if self._read + size > _MOST and hasattr(self._mapped, "madvise") and hasattr(mmap, "MADV_DONTNEED"):
            self._mapped.madvise(mmap.MADV_DONTNEED)
            self._read = 0
        self._read += size
