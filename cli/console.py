"""How the command line draws: progress and remarks on stderr, results on stdout, JSON alone when asked for."""

import io
import json
import math
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qacomp.cli.streams import echo, is_unicode, shown, shown_name, write

if TYPE_CHECKING:
    from rich.progress import Progress as RichBars
    from rich.progress import TaskID

    from qacomp.evaluation.verdict import Verdict
    from qacomp.exporting.operating_points import OperatingPoint
    from qacomp.progress import Progress, Task


class _Bar:
    """One rich progress bar."""

    def __init__(self, bars: "RichBars", task: "TaskID") -> None:
        self.bars, self.id = bars, task

    def advance(self, steps: int = 1) -> None:
        """`steps` more are done."""
        self.bars.advance(self.id, steps)

    def describe(self, text: str) -> None:
        """Show `text` beside the bar."""
        self.bars.update(self.id, detail=shown(text, 120))


class ConsoleProgress:
    """Bars with an ETA on stderr where that is a terminal; remarks as lines on stderr."""

    @contextmanager
    def task(self, name: str, total: int) -> "Iterator[Task]":
        """A bar of `total` steps that shows the time left and, at the end, the time taken."""
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        console = Console(stderr=True)
        columns = (
            TextColumn("{task.description:>10}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
            TextColumn("{task.fields[detail]}", markup=False),
        )
        with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
            yield _Bar(bars, bars.add_task(name, total=total, detail=""))

    def note(self, text: str) -> None:
        """A remark that the user must see."""
        echo(f"note: {text}", err=True)


class _JsonProgress:
    """With --json: no bars; remarks still go to stderr."""

    @contextmanager
    def task(self, name: str, total: int) -> "Iterator[Task]":
        """A task that draws nothing."""
        from qacomp.progress import SilentTask

        yield SilentTask()

    def note(self, text: str) -> None:
        """A remark that the user must see."""
        echo(f"note: {text}", err=True)


def make_progress(as_json: bool) -> "Progress":
    """Bars for people, silence for --json."""
    return _JsonProgress() if as_json else ConsoleProgress()


def print_json(document: Any) -> None:
    """One JSON document on stdout. NaN and infinity, which JSON lacks, become null; the unprintable is escaped."""
    text = json.dumps(_plain(document), indent=2, ensure_ascii=not is_unicode(sys.stdout))
    write("".join(c if c == "\n" or c.isprintable() else json.dumps(c)[1:-1] for c in text) + "\n")


def print_table(rows: list[list[str]], header: list[str], title: str | None = None) -> None:
    """A table on stdout; every column but the first is right-aligned. Wide enough not to wrap when piped.

    Cells are text as it comes: no markup in them, and what can't be printed is escaped.
    """
    from rich.box import ASCII, HEAVY_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    box = HEAVY_HEAD if is_unicode(sys.stdout) else ASCII
    table = Table(title=title and Text(shown(title)), title_justify="left", header_style="bold", box=box)
    for index, name in enumerate(header):
        table.add_column(Text(shown(name)), justify="left" if index == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*(Text(shown(cell)) for cell in row))
    terminal = sys.stdout is not None and sys.stdout.isatty()
    drawn = io.StringIO()
    width = shutil.get_terminal_size().columns if terminal else 160
    Console(file=drawn, force_terminal=terminal, width=width).print(table)
    write(drawn.getvalue())


def count(value: int | None) -> str:
    """1234567 -> 1,234,567."""
    return "–" if value is None else f"{value:,}"


def figure(value: float | None, digits: int = 2, unit: str = "") -> str:
    """A number with its digits, or a dash where there is none."""
    return "–" if value is None else f"{value:.{digits}f}{unit}"


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
    """How close the outputs are to the original's, in one line; of figures that a file states, those that are some."""

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
    """The verdict in colour on a terminal, its reasons, and what to try next. where: how it is known, in brackets."""
    from click import style

    word = verdict.word
    if sys.stdout is not None and sys.stdout.isatty() and "NO_COLOR" not in os.environ:
        word = style(word, fg={"good": "green", "doubtful": "yellow", "broken": "red"}.get(word), bold=True)
    said = f": {'; '.join(verdict.reasons)}" if verdict.reasons else ""
    tries = f"; try {verdict.advice}" if verdict.advice else ""
    write(f"verdict: {word}{shown(said + tries)}{f' ({where})' if where else ''}\n")


def hold_to(verdict: "Verdict", strict: bool, written: Path) -> None:
    """Leave with exit code 1 where --strict is given and the verdict doesn't pass; what was written stays."""
    if strict and not verdict.passes:
        echo(f"qacomp: --strict: the verdict is {verdict.word}; {written} is written", err=True)
        sys.exit(1)


def print_operating_points(points: "Sequence[OperatingPoint]") -> None:
    """The networks of a container that holds several, smallest first; nothing for one that holds one."""
    cells = [[shown_name(p.name), count(p.bytes), count(p.macs), figure(p.accuracy, 2, " %")] for p in points]
    if cells:
        print_table(cells, ["operating point", "bytes to download", "MACs", "accuracy"])
