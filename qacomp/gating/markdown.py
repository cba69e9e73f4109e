"""Write a report as Markdown for a pull request: a table of the limits, and one of the tensors that changed."""

import math
import re
from collections.abc import Iterable, Sequence

from qacomp.diff import TensorChange
from qacomp.gating.checks import GateReport
from qacomp.plain_text import printable

_PLAIN = re.compile(r"[A-Za-z0-9 ,.%()+:;>–-]*")
_LINKED = re.compile(r"www\.|gh-\d|[0-9a-f]{7}|:\S+:", re.IGNORECASE)  # GitHub makes links or emoji of this text
_MOST, _LONGEST = 50, 500  # rows of changed tensors; characters of a cell
_MARKS = {None: "no limit", True: "✅ holds", False: "❌ fails"}


def markdown(report: GateReport) -> str:
    """Return the report as GitHub's Markdown. Text from the files is in code spans, so that it isn't markup."""
    word = "passes" if report.passed else f"fails {len(report.failed)} of {len(report.limits)} limits"
    lines = [f"**qacomp gate**: {safe(str(report.container))} {word}", ""]
    if report.against is not None:
        lines += [f"Last release: {safe(str(report.against))}", ""]
    rows = [[*map(safe, (c.name, c.allowed, c.found)), _MARKS[c.held]] for c in report.checks]
    lines += _table(("limit", "allowed", "found", "result"), rows)
    advice = [f"- {safe(check.name)}: {safe(check.advice)}" for check in report.failed if check.advice]
    lines += ["", *advice] if advice else []
    changed = report.difference.tensors if report.difference else ()
    if changed:
        lines += ["", f"<details><summary>{len(changed)} tensors changed</summary>", ""]
        lines += _table(("tensor", "change", "bytes", "relative RMS"), map(_row, changed[:_MOST]))
        lines += ["", f"and {len(changed) - _MOST} more"] if len(changed) > _MOST else []
        lines += ["", "</details>"]
    return "\n".join(lines) + "\n"


def safe(text: str) -> str:
    r"""Return text that is safe in a table: unchanged if it can't be markup, otherwise as a code span.

    A vertical bar, which would end the cell, becomes \x7c.
    """
    line = printable(text, _LONGEST).replace("|", "\\x7c")
    if _PLAIN.fullmatch(line) and not _LINKED.search(line):
        return line
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", line)), default=0))
    pad = " " if line[:1] in ("`", " ") or line[-1:] in ("`", " ") else ""
    return f"{fence}{pad}{line}{pad}{fence}"


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table of safe cells."""
    lines = [f"| {' | '.join(headings)} |", f"|{' --- |' * len(headings)}"]
    return lines + [f"| {' | '.join(row)} |" for row in rows]


def _row(tensor: TensorChange) -> list[str]:
    sizes = ["–" if size is None else f"{size:,}" for size in tensor.bytes]
    told = "–" if tensor.relative is None or not math.isfinite(tensor.relative) else f"{tensor.relative:.4g}"
    return [safe(tensor.name or "''"), tensor.change, " -> ".join(sizes), told]
