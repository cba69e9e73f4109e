"""Cells of the papers' tables: means over seeds with intervals, which the page's tables and figures are made of."""

from collections.abc import Sequence
from typing import Any

from _papers_statistics import Interval, bootstrap

ACCURACY, DIFFERENCE, PRINTED = "accuracy", "difference", "printed"


def cell(part: str, row: str, column: str, values: Sequence[float], kind: str = ACCURACY) -> list[dict[str, Any]]:
    """Return a cell of one table (`part`), or nothing without values; kind: accuracies, or paired differences."""
    if not values:
        return []
    found = bootstrap(values)
    place = {"part": part, "row": row, "column": column, "kind": kind}
    return [place | {"mean": found.mean, "low": found.low, "high": found.high, "n": found.n}]


def printed(part: str, row: str, column: str, value: float, kind: str = PRINTED) -> list[dict[str, Any]]:
    """Return a cell with a number that a paper prints."""
    return [{"part": part, "row": row, "column": column, "kind": kind, "mean": value, "low": None, "high": None}]


def told(c: dict[str, Any]) -> str:
    """Return a cell as text: `93.21 ± 0.10` (half of the interval's width), or a difference with its interval."""
    if c["kind"] == DIFFERENCE:
        return Interval(c["mean"], c["low"], c["high"], c["n"]).told
    if c["low"] is None:
        return f"{c['mean']:.2f}"
    return f"{c['mean']:.2f} ± {(c['high'] - c['low']) / 2:.2f}"


def pivot(cells: Sequence[dict[str, Any]], part: str) -> tuple[list[str], list[list[str]]]:
    """Return the header, without the first column's, and the rows of one table; what is missing is empty."""
    own = [c for c in cells if c["part"] == part]
    columns, rows = (list(dict.fromkeys(c[key] for c in own)) for key in ("column", "row"))
    found = {(c["row"], c["column"]): told(c) for c in own}
    return columns, [[row, *(found.get((row, column), "") for column in columns)] for row in rows]


def parts_of(cells: Sequence[dict[str, Any]]) -> list[str]:
    """Return the names of all tables, in order."""
    return list(dict.fromkeys(c["part"] for c in cells))
