"""How long work says how far it is: a value that the caller passes in, silent by default."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Task(Protocol):
    """One bar."""

    def advance(self, steps: int = 1) -> None:
        """`steps` more are done."""

    def describe(self, text: str) -> None:
        """Show `text` (a loss, an epoch) beside the bar."""


class Progress(Protocol):
    """Where tasks and remarks go; the command line draws them with rich."""

    def task(self, name: str, total: int) -> AbstractContextManager[Task]:
        """A context manager that yields a Task of `total` steps."""

    def note(self, text: str) -> None:
        """A remark that the user must see: a fallback, something skipped."""


class SilentTask:
    """Draws nothing."""

    def advance(self, steps: int = 1) -> None:
        """Nothing to draw."""

    def describe(self, text: str) -> None:
        """Nothing to draw."""


class SilentProgress:
    """Draws nothing; remarks still reach the result, which collects them itself."""

    @contextmanager
    def task(self, name: str, total: int) -> Iterator[Task]:
        """A task that draws nothing."""
        yield SilentTask()

    def note(self, text: str) -> None:
        """Nothing to draw."""
