"""Texts that lose their middle, so that they fit a terminal. Their starts and ends stay, and tell them apart."""

from collections.abc import Sequence

_CELLS = (16, 20, 24, 28, 32, 36, 40)
"""Cells to which texts may be shortened: the first that tells them apart is taken."""
_SHARES = (0.5, 0.66, 0.34, 0.8, 0.2)
"""Shares of a shortened text that its start takes, in the order in which they are tried."""


def cell_count(text: str) -> int:
    """Return how many cells of a terminal a text takes; some characters take two."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def shortened(text: str, cells: int, mark: str = "…", share: float = 0.5) -> str:
    """Return `text` in at most `cells` cells. A longer one keeps its start, `share` of what stays, and its end."""
    if cell_count(text) <= cells:
        return text
    room = max(0, cells - len(mark))
    if room == 0:
        return mark[:cells]
    head = round(share * room + 0.1)  # of an odd room the start gets the larger half
    return f"{_start(text, head)}{mark}{_start(text[::-1], room - head)[::-1]}"


def shortened_alike(texts: Sequence[str], cells: int, mark: str) -> list[str]:
    """Return texts in at most `cells` cells each, cut at the place where most of them still differ."""
    found = [[shortened(text, cells, mark, share) for text in texts] for share in _SHARES]
    return max(found, key=lambda tried: len(set(tried)))  # the first of equals


def least_cells(texts: Sequence[str], mark: str) -> int:
    """Return the fewest cells at which texts that differ still do, or 20 where 40 can't tell them apart."""
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
