"""Print what several commands show: JSON, numbers, verdicts, agreement with the original and operating points."""

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qacomp.cli.streams import complain, is_unicode, shown, shown_name, wrapped, write
from qacomp.cli.table import TableColumn, print_table
from qacomp.cli.terminal import coloured_verdict

if TYPE_CHECKING:
    from qacomp.evaluation.verdict import Verdict
    from qacomp.exporting.operating_points import OperatingPoint

_POINTS = (
    TableColumn("operating point", 0, text=True),
    TableColumn("bytes to download", 1),
    TableColumn("MACs", 3),
    TableColumn("accuracy", 2),
)


def print_json(document: Any) -> None:
    """Write one JSON document on stdout. NaN and infinity become null; unprintable characters are escaped."""
    text = json.dumps(_plain(document), indent=2, ensure_ascii=not is_unicode(sys.stdout))
    write("".join(c if c == "\n" or c.isprintable() else json.dumps(c)[1:-1] for c in text) + "\n")


def count(value: int | None) -> str:
    """Return an integer with commas, such as 1,234,567; None becomes a dash."""
    return "–" if value is None else f"{value:,}"


def figure(value: float | None, digits: int = 2, unit: str = "") -> str:
    """Return a number with `digits` digits after the point, and its unit; None becomes a dash."""
    return "–" if value is None else f"{value:.{digits}f}{unit}"


def rounded(value: Any, digits: int = 4) -> Any:
    """Return a value with its floats rounded to `digits` significant digits, also those in lists and dicts."""
    if isinstance(value, float):
        return float(f"{value:.{digits}g}")
    if isinstance(value, dict):
        return {key: rounded(part, digits) for key, part in value.items()}
    return [rounded(part, digits) for part in value] if isinstance(value, list | tuple) else value


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def agreement_line(agreement: dict[str, Any]) -> str:
    """Return one line on how close the outputs are to the original's. Entries that aren't numbers are left out."""

    def number(name: str) -> float | None:
        value = agreement.get(name)
        return float(value) if isinstance(value, int | float) and math.isfinite(value) else None

    plain, centred, most, top1 = (number(name) for name in ("cosine", "centred", "max_abs_error", "top1"))
    figures = ["no cosine, since every output is constant or not finite" if plain is None else f"cosine {plain:.6f}"]
    figures += [] if centred is None else [f"centred over the inputs {centred:.6f}"]
    figures += [] if most is None else [f"largest difference {most:.3g}"]
    figures += [] if top1 is None else [f"the same top-1 for {top1:.2f} %"]
    return f"agreement with the original on {agreement.get('inputs', 'inputs')}: {', '.join(figures)}"


def print_verdict(verdict: "Verdict", where: str = "") -> None:
    """Write the verdict, its reasons and what to try next. where: where the verdict comes from, shown in brackets."""
    said = f": {'; '.join(verdict.reasons)}" if verdict.reasons else ""
    tries = f"; try {verdict.advice}" if verdict.advice else ""
    start = f"verdict: {verdict.word}"
    line = wrapped(f"{start}{shown(said + tries)}{f' ({where})' if where else ''}", sys.stdout)
    write(f"verdict: {coloured_verdict(verdict.word, sys.stdout)}{line.removeprefix(start)}\n")


def hold_to(verdict: "Verdict", strict: bool, written: Path) -> None:
    """Exit with code 1 if --strict is given and the verdict doesn't pass; the written file stays."""
    if strict and not verdict.passes:
        complain(f"qacomp: --strict: the verdict is {verdict.word}; {written} was written all the same")
        sys.exit(1)


def print_operating_points(points: "Sequence[OperatingPoint]") -> None:
    """Write a table of a container's operating points, smallest first; nothing if there are none."""
    cells = [[shown_name(p.name), count(p.bytes), count(p.macs), figure(p.accuracy, 2, " %")] for p in points]
    if cells:
        print_table(_POINTS, cells)
