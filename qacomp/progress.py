"""Define how long work reports its progress: through a value that the caller passes in, silent by default."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Task(Protocol):
    """One piece of work that is counted in steps."""

    def advance(self, steps: int = 1) -> None:
        """Add `steps` to the finished steps."""

    def describe(self, text: str) -> None:
        """Show a text (such as a loss or an epoch) beside the bar."""


class Progress(Protocol):
    """Where tasks and notes are shown: on a terminal, in a log, in a notebook, or nowhere."""

    def task(self, name: str, total: int) -> AbstractContextManager[Task]:
        """Return a context manager that yields a Task of `total` steps."""

    def note(self, text: str) -> None:
        """Show a note that the user must see, for example that something was skipped."""


class SilentTask:
    """A task that draws nothing."""

    def advance(self, steps: int = 1) -> None:
        """Draw nothing."""

    def describe(self, text: str) -> None:
        """Draw nothing."""


class SilentProgress:
    """Progress that shows nothing. The notes are still in the result, which collects them itself."""

    @contextmanager
    def task(self, name: str, total: int) -> Iterator[Task]:
        """Yield a task that draws nothing."""
        yield SilentTask()

    def note(self, text: str) -> None:
        """Draw nothing."""
