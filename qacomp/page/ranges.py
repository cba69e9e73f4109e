"""Read the header Range of a request: one part of a file, as RFC 9110, section 14, describes it."""

import re

_ONE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


def wanted_range(header: str | None, size: int) -> tuple[int, int] | None:
    """Return (start, stop) of the bytes that a request wants of a file of `size` bytes: all of them without a range.

    Several ranges, and a header that isn't one of ranges, count as none, as the standard allows. Returns None for a
    range that lies outside the file, which is answered by 416.
    """
    found = _ONE.fullmatch((header or "").strip())
    if found is None or found.group(1) == found.group(2) == "":
        return 0, size
    first, last = found.groups()
    if not first:
        return (max(size - int(last), 0), size) if int(last) and size else None
    start, stop = int(first), min(int(last) + 1, size) if last else size
    if last and int(last) < start:
        return 0, size
    return (start, stop) if start < size else None
