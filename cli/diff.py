"""Run `qacomp diff`: show the differences between two containers."""

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
@click.option("--exit-code", is_flag=True, help="Exit with code 1 if the files differ, as diff(1) does.")
@reporting
def diff_command(a: Path, b: Path, exit_code: bool, as_json: bool) -> None:
    """Show which tensors, settings and provenance entries differ between A and B. Doesn't need torch.

    Numbers have four significant digits; --json has all digits.

    The exit code is 0 whether the files differ or not, as for `git diff`; with --exit-code it is 1 if they differ. An
    error is one line on stderr, with exit code 1.
    """
    from qacomp.diff import compare

    found = compare(a, b)
    if as_json:
        print_json(found.to_json())
    elif found.same:
        echo(f"{a} and {b} are equal: {found.unchanged} tensors, settings and provenance")
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
    echo(f"tensors: {numbers}, {found.unchanged} unchanged")
    echo(f"{found.a}: {before:,} bytes; {found.b}: {after:,} bytes ({(after - before) / max(1, before):+.2%})")


def _pair(a: str, b: str) -> str:
    return a if a == b else f"{a} → {b}"


def _k(k: int | None) -> str:
    return "–" if k is None else str(k)


def _short(value: object) -> str:
    """Return a setting's value with its floats rounded, in at most 60 characters."""
    return shortened("–" if value is None else str(rounded(value)), 60)
