"""One run of a compression: its output file, its notes to the user, and the seconds that its stages take."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qacomp.progress import Progress


class Run:
    """Collects the notes to the user and the seconds of each stage.

    output: path of the container; snapshots: folder for checkpoints after each quarter of fine-tuning, None: none.
    """

    def __init__(self, progress: Progress, output: Path, snapshots: Path | None = None) -> None:
        self.progress, self.output, self.snapshots = progress, output, snapshots
        self.notes: list[str] = []
        self.seconds: dict[str, float] = {}

    def note(self, text: str) -> None:
        """Show a note to the user now, and keep it for the result."""
        self.notes.append(text)
        self.progress.note(text)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the block, and add its seconds to the stage `name`."""
        start = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start
