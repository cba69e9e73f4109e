"""Show progress on stderr: bars on a terminal, a plain line now and then in a log, nothing with --json."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from qacomp.cli.streams import echo, note, shown
from qacomp.cli.terminal import is_drawn

if TYPE_CHECKING:
    from rich.progress import Progress as RichBars
    from rich.progress import TaskID

    from qacomp.progress import Progress, Task

_FIRST_S, _GROWTH, _LONGEST_S = 5.0, 2.0, 600.0
"""Seconds before the first line of a task, factor from one wait to the next, and the longest wait in seconds."""


def make_progress(as_json: bool) -> "Progress":
    """Return progress that draws bars (terminal), writes lines (log) or shows only notes (--json)."""
    if as_json:
        return JsonProgress()
    return TerminalProgress() if is_drawn(sys.stderr) else LogProgress()


class JsonProgress:
    """Progress with --json: notes on stderr, and nothing else."""

    @contextmanager
    def task(self, name: str, total: int) -> "Iterator[Task]":
        """Yield a task that draws nothing."""
        from qacomp.progress import SilentTask

        yield SilentTask()

    def note(self, text: str) -> None:
        """Write a remark that the user must see."""
        note(text)


class LogProgress:
    """Progress for a log: the first line of a task after five seconds, then lines at growing intervals; and notes."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock

    @contextmanager
    def task(self, name: str, total: int) -> "Iterator[Task]":
        """Yield a task of `total` steps that writes lines; a task of five seconds or more ends with a line."""
        lines = LogTask(name, total, self.clock)
        yield lines
        lines.finish()

    def note(self, text: str) -> None:
        """Write a remark that the user must see."""
        note(text)


class LogTask:
    """One task of a log, which writes a line when the wait since the last one is over."""

    def __init__(self, name: str, total: int, clock: Callable[[], float]) -> None:
        self.name, self.total, self.clock = name, total, clock
        self.done, self.detail = 0, ""
        self.start = clock()
        self.wait, self.next = _FIRST_S, self.start + _FIRST_S

    def advance(self, steps: int = 1) -> None:
        """Add `steps` to the finished steps, and write a line if it is time for one."""
        now = self.clock()
        self.done += steps
        if now < self.next or self.done >= self.total:
            return
        echo(self._text(now - self.start), err=True)
        self.wait = min(_LONGEST_S, _GROWTH * self.wait)
        self.next = now + self.wait

    def describe(self, text: str) -> None:
        """Set the text (such as an epoch or a loss) of the next line."""
        self.detail = text

    def finish(self) -> None:
        """Write how long the task took, if it took five seconds or more."""
        seconds = self.clock() - self.start
        if seconds >= _FIRST_S:
            took = _duration(seconds)
            echo(f"{self.name}: {self.done:,} of {self.total:,} steps, done in {took}{self._said()}", err=True)

    def _text(self, seconds: float) -> str:
        """Return a line with the finished steps, the time so far and the estimated time left."""
        percent = f"{100 * self.done / max(1, self.total):.0f} %"
        left = seconds * max(0, self.total - self.done) / max(1, self.done)
        text = f"{self.name}: step {self.done:,} of {self.total:,} ({percent}) after {_duration(seconds)}"
        return f"{text}, about {_duration(left)} left{self._said()}"

    def _said(self) -> str:
        return f"; {shown(self.detail, 120)}" if self.detail else ""


class TerminalProgress:
    """Progress on a terminal: bars with the time left, and notes as lines."""

    @contextmanager
    def task(self, name: str, total: int) -> "Iterator[Task]":
        """Yield a task of `total` steps with a bar that shows the time left and, at the end, the time taken."""
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
        from rich.table import Column

        columns = (
            TextColumn("{task.description:>10}", markup=False),
            BarColumn(bar_width=20),
            TaskProgressColumn(),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
            TextColumn("{task.fields[detail]}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis")),
        )
        with Progress(*columns, console=Console(stderr=True)) as bars:
            yield TerminalBar(bars, bars.add_task(name, total=total, detail=""))

    def note(self, text: str) -> None:
        """Write a remark that the user must see."""
        note(text)


class TerminalBar:
    """One task of a terminal, drawn as a progress bar of the package rich."""

    def __init__(self, bars: "RichBars", task: "TaskID") -> None:
        self.bars, self.id = bars, task

    def advance(self, steps: int = 1) -> None:
        """Add `steps` to the finished steps, and draw the bar."""
        self.bars.advance(self.id, steps)

    def describe(self, text: str) -> None:
        """Show `text` beside the bar."""
        self.bars.update(self.id, detail=shown(text, 120))


def _duration(seconds: float) -> str:
    """Return a duration as text: `12 s`, `4 min 5 s` or `2 h 7 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"
