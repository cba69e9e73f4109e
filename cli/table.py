"""Print tables on stdout: all columns to a pipe or a file, and as many as fit to a terminal.

Columns with the highest rank number are left out first. Texts (names, codecs) may lose their middle; numbers never do.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from qacomp.cli.shortening import cell_count, least_cells, shortened_alike
from qacomp.cli.streams import as_written, shown, wrapped, write
from qacomp.cli.terminal import coloured, width

_GAP = "  "


@dataclass(frozen=True)
class TableColumn:
    """A column of a table. rank: 0 for the most important column, which always stays; the highest is dropped first.

    text: the column is left-aligned and may be shortened; other columns are numbers, right-aligned and never shortened.
    """

    heading: str
    rank: int
    text: bool = False


@dataclass(frozen=True)
class _Drawn:
    """A column with its texts; least, full: its width, in cells of the terminal, when shortened and when whole."""

    column: TableColumn
    cells: list[str]
    least: int
    full: int


def print_table(columns: Sequence[TableColumn], rows: Sequence[Sequence[str]], title: str | None = None) -> None:
    """Write a table on stdout, then a line that names the columns left out, if any, and a blank line.

    Unprintable characters in the cells are escaped. A column of texts that are all empty isn't written.
    """
    mark = as_written("…", sys.stdout)
    cells = [[_text(row[i]) for row in rows] for i in range(len(columns))]
    drawn = [_measured(c, own, mark) for c, own in zip(columns, cells, strict=True) if any(own) or not (c.text and own)]
    available = width(sys.stdout)
    kept = drawn if available is None else _fitting(drawn, available)
    sizes = [d.full for d in kept] if available is None else _sizes(kept, available)
    body = [_padded(d, size, mark) for d, size in zip(kept, sizes, strict=True)]
    heading, *lines = [_GAP.join(line).rstrip() for line in zip(*body, strict=True)]
    rule = _GAP.join(_text("─") * size for size in sizes)
    lines = [coloured(heading, "bold", sys.stdout), coloured(rule, "dim", sys.stdout), *lines]
    if title is not None:
        lines = [_text(title), *lines]
    if left_out := [d.column.heading for d in drawn if d not in kept]:
        remark = f"columns left out at a width of {available}: {', '.join(left_out)}; --json has all"
        lines += [coloured(line, "dim", sys.stdout) for line in wrapped(remark, sys.stdout).split("\n")]
    write("\n".join(lines) + "\n\n")


def _text(cell: str) -> str:
    return as_written(shown(cell), sys.stdout)


def _measured(column: TableColumn, cells: list[str], mark: str) -> _Drawn:
    heading = cell_count(_text(column.heading))
    full = max([heading, *map(cell_count, cells)])
    least = min(full, max(heading, least_cells(cells, mark))) if column.text and width(sys.stdout) else full
    return _Drawn(column, cells, least, full)


def _fitting(drawn: Sequence[_Drawn], available: int) -> list[_Drawn]:
    """Return the columns that fit the available width; those with the highest rank are dropped first."""
    kept = list(drawn)
    while len(kept) > 1 and _total([d.least for d in kept]) > available:
        kept.remove(max(kept, key=lambda d: d.column.rank))
    return kept


def _sizes(kept: Sequence[_Drawn], available: int) -> list[int]:
    """Return the width of each column; the widest text columns are narrowed until all columns fit."""
    sizes = [d.full for d in kept]
    while _total(sizes) > available:
        texts = [i for i, d in enumerate(kept) if d.column.text and sizes[i] > (d.least if len(kept) > 1 else 1)]
        if not texts:
            break
        sizes[max(texts, key=lambda i: sizes[i])] -= 1
    return sizes


def _total(sizes: Sequence[int]) -> int:
    return sum(sizes) + len(_GAP) * (len(sizes) - 1)


def _padded(drawn: _Drawn, size: int, mark: str) -> list[str]:
    """Return the heading and the texts of a column, each padded or shortened to a width of `size`."""
    cells = shortened_alike(drawn.cells, size, mark) if size < drawn.full else drawn.cells
    blanks = [(cell, " " * (size - cell_count(cell))) for cell in (_text(drawn.column.heading), *cells)]
    return [cell + blank if drawn.column.text else blank + cell for cell, blank in blanks]
