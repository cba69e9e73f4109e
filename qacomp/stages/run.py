"""One run of a compression: its output file, its notes to the user, and the seconds that its stages take."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qacomp.progress import Progress
from qacomp.ranks.ranks import ALONE, Ranks
from qacomp.stages.journal import Journal
from qacomp.stages.parts import SourcePart
from qacomp.stages.piece_folder import PieceFolder
from qacomp.training.own_functions import OwnFunctions
from qacomp.workers.choice import ALONE as ONE_WORKER
from qacomp.workers.choice import Workers

_NONE = OwnFunctions()


class Run:
    """Collects the notes to the user and the seconds of each stage.

    output: path of the container; snapshots: folder for checkpoints after each quarter of fine-tuning, None: none; own:
    the caller's loss and metric; ranks: the processes that share the trainings. journal: keeps what a search measures;
    it keeps nothing until the pipeline gives another one. shard_bytes: most bytes of a file of the container, whose
    index is then the output; None: the container is one file. workers, part: who shares a large source's tensors, and
    which of them; pieces: keeps those that are done, where the pipeline gives it. base: the container that the result
    stays near, or None.
    """

    def __init__(
        self,
        progress: Progress,
        output: Path,
        snapshots: Path | None = None,
        own: OwnFunctions = _NONE,
        ranks: Ranks = ALONE,
        shard_bytes: int | None = None,
    ) -> None:
        self.progress, self.output, self.snapshots, self.own, self.ranks = progress, output, snapshots, own, ranks
        self.shard_bytes = shard_bytes
        self.base: Path | None = None
        self.notes: list[str] = []
        self.seconds: dict[str, float] = {}
        self.journal = Journal()
        self.workers = ONE_WORKER
        self.part: SourcePart | None = None
        self.pieces: PieceFolder | None = None

    def divided(self, workers: Workers, part: SourcePart | None) -> "Run":
        """Set who shares the tensors of a large source, and which of them; return this run."""
        self.workers, self.part = workers, part
        return self

    def near(self, base: Path | None) -> None:
        """Set the container that the result stays near."""
        self.base = base

    def keep_in(self, journal: Journal) -> None:
        """Keep what a search measures from now on in a journal."""
        self.journal = journal

    def keep_pieces_in(self, folder: PieceFolder) -> None:
        """Keep the finished tensors of a large source in a folder."""
        self.pieces = folder

    def note(self, text: str) -> None:
        """Show a note to the user now, and keep it for the result."""
        self.notes.append(text)
        self.progress.note(text)

    def note_alone(self, why: str) -> None:
        """Note, if several processes were started, that the first one works alone, and why."""
        if self.ranks.size > 1:
            self.note(f"{self.ranks.size} processes were started, but {why}, so the first one works alone")

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the block, and add its seconds to the stage `name`."""
        start = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start
