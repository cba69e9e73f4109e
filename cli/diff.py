"""`qacomp diff`: what two containers don't have in common."""

from pathlib import Path
from typing import Any

import click

from qacomp.cli.console import count, print_json, rounded
from qacomp.cli.options import INPUT, reporting
from qacomp.cli.shortening import shortened
from qacomp.cli.streams import echo, shown_name
from qacomp.cli.table import TableColumn, print_table

_COLUMNS = (
    TableColumn("tensor", 0, text=True),
    TableColumn("shape", 5),
    TableColumn("K", 3),
    TableColumn("bytes", 2),
    TableColumn("max |difference|", 1),
    TableColumn("RMS", 4),
)
_MARKS = {"added": "+", "removed": "−", "changed": "~"}


@click.command("diff", short_help="Show what differs between two .qac files.")
@click.argument("a", type=INPUT)
@click.argument("b", type=INPUT)
@click.option("--exit-code", is_flag=True, help="Exit with 1 where the two differ, as diff(1) does.")
@reporting
def diff_command(a: Path, b: Path, exit_code: bool, as_json: bool) -> None:
    """Show the tensors added, removed and changed from A to B, with settings and provenance. Needs no torch.

    Figures have four significant digits; --json has all of them.

    The exit code is 0 whether they differ or not, as of `git diff`; with --exit-code it is 1 where they do. An error is
    a line on stderr with exit code 1.
    """
    from qacomp.diff import compare

    found = compare(a, b)
    if as_json:
        print_json(found.to_json())
    elif found.same:
        echo(f"{a} and {b} hold the same: {found.unchanged} tensors, settings and provenance")
    else:
        _show(found)
    if exit_code and not found.same:
        raise click.exceptions.Exit(1)


def _show(found: Any) -> None:
    rows = []
    for t in found.tensors:
        largest, rms = (("–" if v is None else f"{v:.4g}") for v in (t.max_abs, t.rms))
        shapes = ["–" if s is None else "×".join(map(str, s)) or "scalar" for s in t.shape]
        sizes = [_pair(*shapes), _pair(*map(_k, t.k)), _pair(*map(count, t.bytes))]
        rows.append([f"{_MARKS[t.change]} {shown_name(t.name)}", *sizes, largest, rms])
    if rows:
        print_table(_COLUMNS, rows)
    for title, table in (("setting", found.settings), ("provenance", found.provenance)):
        if table:
            columns = [TableColumn(heading, rank, text=True) for rank, heading in enumerate((title, "a", "b"))]
            print_table(columns, [[k, _short(x), _short(y)] for k, (x, y) in table.items()])
    if found.graph_differs:
        echo("the graphs differ")
    numbers = ", ".join(f"{sum(t.change == c for t in found.tensors)} {c}" for c in _MARKS)
    before, after = found.bytes
    echo(f"tensors: {numbers}, {found.unchanged} the same")
    echo(f"{found.a}: {before:,} bytes; {found.b}: {after:,} bytes ({(after - before) / max(1, before):+.2%})")


def _pair(a: str, b: str) -> str:
    return a if a == b else f"{a} → {b}"


def _k(k: int | None) -> str:
    return "–" if k is None else str(k)


def _short(value: object) -> str:
    """Return a setting's value with its floats rounded, in at most 60 characters."""
    return shortened("–" if value is None else str(rounded(value)), 60)
