"""Shorten texts to fit a terminal: the middle is cut out, so that starts and ends still tell them apart."""

import sys
from collections.abc import Sequence

from qacomp.cli.terminal import width

_CELLS = (16, 20, 24, 28, 32, 36, 40)
"""Widths, in cells of the terminal, that are tried; the first at which all texts still differ is used."""
_SHARES = (0.5, 0.66, 0.34, 0.8, 0.2)
"""Fractions of a shortened text that its start may take, in the order in which they are tried."""


def cell_count(text: str) -> int:
    """Return the width of a text in cells of a terminal; some characters take two."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def shortened(text: str, cells: int, mark: str = "…", share: float = 0.5) -> str:
    """Return `text` in at most `cells` cells; share: fraction of a shortened text that its start takes."""
    if cell_count(text) <= cells:
        return text
    room = max(0, cells - len(mark))
    if room == 0:
        return mark[:cells]
    head = round(share * room + 0.1)  # if the room is odd, the start gets the larger half
    return f"{_start(text, head)}{mark}{_start(text[::-1], room - head)[::-1]}"


def shown_digest(digest: str) -> str:
    """Return a digest in hex, whole if it fits a line of the terminal of standard output, for `echo`."""
    return shortened(digest, (width(sys.stdout) or 80) - 2)  # `echo` may put it on a line of its own


def shortened_alike(texts: Sequence[str], cells: int, mark: str) -> list[str]:
    """Return texts in at most `cells` cells each, all cut at the place at which most of them still differ."""
    found = [[shortened(text, cells, mark, share) for text in texts] for share in _SHARES]
    return max(found, key=lambda tried: len(set(tried)))  # the first of equally good ones


def least_cells(texts: Sequence[str], mark: str) -> int:
    """Return the smallest width at which different texts stay different, or 20 if 40 isn't enough."""
    different = len(set(texts))
    for cells in _CELLS:
        if len(set(shortened_alike(texts, cells, mark))) == different:
            return cells
    return _CELLS[1]


def _start(text: str, cells: int) -> str:
    """Return the longest start of `text` that takes at most `cells` cells."""
    used = 0
    for place, character in enumerate(text):
        used += cell_count(character)
        if used > cells:
            return text[:place]
    return text
