"""How long work says how far it is: a value that the caller passes in, silent by default."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Task(Protocol):
    """One piece of work whose steps are counted."""

    def advance(self, steps: int = 1) -> None:
        """Count `steps` more as done."""

    def describe(self, text: str) -> None:
        """Show `text` (a loss, an epoch) beside the bar."""


class Progress(Protocol):
    """Where tasks and remarks go: to a terminal, a log, a notebook, or nowhere."""

    def task(self, name: str, total: int) -> AbstractContextManager[Task]:
        """Return a context manager that yields a Task of `total` steps."""

    def note(self, text: str) -> None:
        """Show a remark that the user must see: a fallback, something skipped."""


class SilentTask:
    """A task that draws nothing."""

    def advance(self, steps: int = 1) -> None:
        """Draw nothing."""

    def describe(self, text: str) -> None:
        """Draw nothing."""


class SilentProgress:
    """Progress that draws nothing. Remarks still reach the result, which collects them itself."""

    @contextmanager
    def task(self, name: str, total: int) -> Iterator[Task]:
        """Yield a task that draws nothing."""
        yield SilentTask()

    def note(self, text: str) -> None:
        """Draw nothing."""
