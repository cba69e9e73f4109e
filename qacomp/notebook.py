"""Progress in a notebook: one bar that redraws itself in the cell, and remarks below it."""

import html
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from qacomp.progress import Progress, SilentProgress, Task

_REDRAW_S = 0.1


def choose_progress(given: Progress | bool | None) -> Progress:
    """Return a given Progress as it is; for None and True bars in a notebook; silence otherwise."""
    if given is None or isinstance(given, bool):
        show = _notebook_display() if given is not False else None
        return SilentProgress() if show is None else NotebookProgress(show)
    return given


class NotebookProgress:
    """Progress in a cell. `show(html, handle)` displays the first time (handle None), and redraws the handle later."""

    def __init__(self, show: Callable[[str, Any], Any]) -> None:
        self.show = show

    @contextmanager
    def task(self, name: str, total: int) -> Iterator[Task]:
        """Yield a bar of `total` steps, which shows at the end the time that it took."""
        bar = NotebookBar(self.show, name, total)
        yield bar
        bar.draw()

    def note(self, text: str) -> None:
        """Show a remark as a line of its own."""
        self.show(f"<div style='opacity:.75'>{html.escape(text)}</div>", None)


class NotebookBar:
    """One bar, redrawn ten times a second at most."""

    def __init__(self, show: Callable[[str, Any], Any], name: str, total: int) -> None:
        self.show, self.name, self.total = show, name, total
        self.done, self.detail, self.handle = 0, "", None
        self.start = time.monotonic()
        self.drawn = float("-inf")

    def advance(self, steps: int = 1) -> None:
        """Count `steps` more as done."""
        self.done += steps
        if time.monotonic() - self.drawn >= _REDRAW_S:
            self.draw()

    def describe(self, text: str) -> None:
        """Show `text` beside the bar."""
        self.detail = text

    def draw(self) -> None:
        """Draw the bar as it stands now."""
        self.drawn = time.monotonic()
        text = f"{self.done:,} of {self.total:,}, {self.drawn - self.start:.0f} s"
        text += f", {self.detail}" if self.detail else ""
        markup = (
            f"<div><span style='display:inline-block;min-width:6em'>{html.escape(self.name)}</span> "
            f"<progress value='{self.done}' max='{max(1, self.total)}'></progress> {html.escape(text)}</div>"
        )
        self.handle = self.show(markup, self.handle)


def _notebook_display() -> Callable[[str, Any], Any] | None:
    """Return how the running notebook displays HTML; None outside of one. A notebook has IPython: it isn't imported."""
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
