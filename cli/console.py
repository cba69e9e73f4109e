"""Output that all commands write in one form: JSON, numbers, verdicts, agreements and operating points."""

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
    """Write one JSON document on stdout. NaN and infinity become null; what can't be printed is escaped."""
    text = json.dumps(_plain(document), indent=2, ensure_ascii=not is_unicode(sys.stdout))
    write("".join(c if c == "\n" or c.isprintable() else json.dumps(c)[1:-1] for c in text) + "\n")


def count(value: int | None) -> str:
    """Return 1234567 as 1,234,567; None as a dash."""
    return "–" if value is None else f"{value:,}"


def figure(value: float | None, digits: int = 2, unit: str = "") -> str:
    """Return a number with so many digits behind the point and its unit; None as a dash."""
    return "–" if value is None else f"{value:.{digits}f}{unit}"


def rounded(value: Any, digits: int = 4) -> Any:
    """Return a value with its floats rounded to so many significant digits, also those in lists and tables."""
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
    """Return how close the outputs are to the original's, in one line. Entries that are no numbers are left out."""

    def number(name: str) -> float | None:
        value = agreement.get(name)
        return float(value) if isinstance(value, int | float) and math.isfinite(value) else None

    plain, centred, most, top1 = (number(name) for name in ("cosine", "centred", "max_abs_error", "top1"))
    figures = ["not measured, no output says anything" if plain is None else f"cosine {plain:.6f}"]
    figures += [] if centred is None else [f"centred over the inputs {centred:.6f}"]
    figures += [] if most is None else [f"largest difference {most:.3g}"]
    figures += [] if top1 is None else [f"the same top-1 for {top1:.2f} %"]
    return f"agreement with the original on {agreement.get('inputs', 'inputs')}: {', '.join(figures)}"


def print_verdict(verdict: "Verdict", where: str = "") -> None:
    """Write the verdict, its reasons and what to try next. where: how the verdict is known, in brackets."""
    said = f": {'; '.join(verdict.reasons)}" if verdict.reasons else ""
    tries = f"; try {verdict.advice}" if verdict.advice else ""
    start = f"verdict: {verdict.word}"
    line = wrapped(f"{start}{shown(said + tries)}{f' ({where})' if where else ''}", sys.stdout)
    write(f"verdict: {coloured_verdict(verdict.word, sys.stdout)}{line.removeprefix(start)}\n")


def hold_to(verdict: "Verdict", strict: bool, written: Path) -> None:
    """Leave with exit code 1 where --strict is given and the verdict doesn't pass; what was written stays."""
    if strict and not verdict.passes:
        complain(f"qacomp: --strict: the verdict is {verdict.word}; {written} is written")
        sys.exit(1)


def print_operating_points(points: "Sequence[OperatingPoint]") -> None:
    """Write the networks of a container that holds several, smallest first; nothing for a container of one network."""
    cells = [[shown_name(p.name), count(p.bytes), count(p.macs), figure(p.accuracy, 2, " %")] for p in points]
    if cells:
        print_table(_POINTS, cells)
