"""Show progress in a notebook: one bar for each task, redrawn in the cell, and notes as lines."""

import html
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from qacomp.progress import Progress, SilentProgress, Task

_REDRAW_S = 0.1  # seconds


def choose_progress(given: Progress | bool | None) -> Progress:
    """Return `given` if it is a Progress; for None and True bars if this is a notebook; else silent progress."""
    if given is None or isinstance(given, bool):
        show = _notebook_display() if given is not False else None
        return SilentProgress() if show is None else NotebookProgress(show)
    return given


class NotebookProgress:
    """Progress in a cell. show(html, handle) displays HTML if handle is None, else redraws it, and returns a handle."""

    def __init__(self, show: Callable[[str, Any], Any]) -> None:
        self.show = show

    @contextmanager
    def task(self, name: str, total: int) -> Iterator[Task]:
        """Yield a task of `total` steps with a bar; at the end the bar shows the time taken."""
        bar = NotebookBar(self.show, name, total)
        yield bar
        bar.draw()

    def note(self, text: str) -> None:
        """Show a note as a line of its own."""
        self.show(f"<div style='opacity:.75'>{html.escape(text)}</div>", None)


class NotebookBar:
    """One task with a bar, which is redrawn at most ten times a second."""

    def __init__(self, show: Callable[[str, Any], Any], name: str, total: int) -> None:
        self.show, self.name, self.total = show, name, total
        self.done, self.detail, self.handle = 0, "", None
        self.start = time.monotonic()
        self.drawn = float("-inf")

    def advance(self, steps: int = 1) -> None:
        """Add `steps` to the finished steps, and redraw the bar if it is time."""
        self.done += steps
        if time.monotonic() - self.drawn >= _REDRAW_S:
            self.draw()

    def describe(self, text: str) -> None:
        """Set the text beside the bar, shown with the next redraw."""
        self.detail = text

    def draw(self) -> None:
        """Draw the bar with the current steps, time and text."""
        self.drawn = time.monotonic()
        text = f"{self.done:,} of {self.total:,}, {self.drawn - self.start:.0f} s"
        text += f", {self.detail}" if self.detail else ""
        markup = (
            f"<div><span style='display:inline-block;min-width:6em'>{html.escape(self.name)}</span> "
            f"<progress value='{self.done}' max='{max(1, self.total)}'></progress> {html.escape(text)}</div>"
        )
        self.handle = self.show(markup, self.handle)


def _notebook_display() -> Callable[[str, Any], Any] | None:
    """Return the function `show` of the running notebook, or None outside of a notebook.

    IPython isn't imported here, since a notebook has already imported it.
    """
    ipython: Any = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    if shell is None or type(shell).__name__ != "ZMQInteractiveShell":
        return None
    display: Any = sys.modules["IPython.display"]

    def show(markup: str, handle: Any) -> Any:
        if handle is None:
            return display.display(display.HTML(markup), display_id=True)
        handle.update(display.HTML(markup))
        return handle

    return show
