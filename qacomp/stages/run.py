"""One run of a compression: where it goes, what the user hears of it, how long its stages take."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qacomp.progress import Progress


class Run:
    """Remarks for the user, and seconds a stage.

    output: the container; snapshots: a folder that gets checkpoints of the fine-tuning at its quarters, if given.
    """

    def __init__(self, progress: Progress, output: Path, snapshots: Path | None = None) -> None:
        self.progress, self.output, self.snapshots = progress, output, snapshots
        self.notes: list[str] = []
        self.seconds: dict[str, float] = {}

    def note(self, text: str) -> None:
        """Tell the user now and in the result."""
        self.notes.append(text)
        self.progress.note(text)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what happens inside."""
        start = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start
