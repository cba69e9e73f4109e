"""Keep the pieces of an interrupted run in a folder beside its output, NAME.tensors, so that the next run goes on.

As with a journal, a folder of a run with another source or other settings is emptied, and what is damaged is made
again. A folder that doesn't begin with the mark of this file is never touched.
"""

import hashlib
import shutil
from pathlib import Path
from secrets import token_hex

from qacomp.errors import OutputNotWritableError, WorkerError
from qacomp.formats import FormatError, open_file
from qacomp.formats.destination import not_writable
from qacomp.outputs import pieces_path
from qacomp.stages.piece_files import DETAILS, read_details
from qacomp.stages.pieces import MARKER, PieceTask

_MARK = "run.txt"
_START = "qacomp tensors 1\n"


class PieceFolder:
    """The pieces of one run. fingerprint: of everything that their bytes depend on."""

    def __init__(self, output: Path, fingerprint: str) -> None:
        self.path = pieces_path(output)
        self._opened = False
        self.run = hashlib.sha256(fingerprint.encode()).hexdigest()
        self._mark = _START + self.run

    def open(self) -> bool:
        """Make the folder, or keep one of the same run, and return whether there was one.

        Raises OutputNotWritableError, also for a folder of something else.
        """
        if self._opened:
            return True
        try:
            if self.path.exists():
                mark = self.path / _MARK
                told = mark.read_text(errors="replace") if mark.is_file() else ""
                if told == self._mark:
                    self._opened = True
                    return True
                if not told.startswith(_START) and any(self.path.iterdir()):
                    raise OutputNotWritableError(
                        f"{self.path}: is needed for the tensors of this run, but holds something else; move it away"
                    )
                shutil.rmtree(self.path)
            self.path.mkdir(mode=0o700)
            (self.path / _MARK).write_text(self._mark)
        except OSError as error:
            raise not_writable(self.path, error) from error
        self._opened = True
        return False

    def has(self, task: PieceTask) -> bool:
        """Return whether the whole piece is there: its tensors, and each section with the right checksum."""
        path = self.path / task.file
        if not path.is_file():
            return False
        try:
            with open_file(path) as container:
                if container.names != (*(tensor.name for tensor in task.tensors), DETAILS):
                    return False
                read_details(container)
                for place in range(len(container.header.sections)):
                    container.stored(place)
        except (FormatError, OSError):
            return False
        return True

    def marked(self) -> str:
        """Write a new token into the folder, by which a worker sees that it has this file system; return it.

        Raises OutputNotWritableError.
        """
        token = token_hex(16)
        try:
            (self.path / MARKER).write_text(token)
        except OSError as error:
            raise not_writable(self.path / MARKER, error) from error
        return token

    def take(self, task: PieceTask, told: bytes | str) -> None:
        """Keep what a worker returned: the bytes of a piece, or the digest of one that it has written here.

        Raises WorkerError if the file isn't the one that the worker wrote, OutputNotWritableError.
        """
        if isinstance(told, bytes):
            return self.keep(task, told)
        try:
            same = hashlib.sha256((self.path / task.file).read_bytes()).hexdigest() == told
        except OSError:
            same = False
        if not same:
            raise WorkerError(
                f"{self.path / task.file}: isn't what a worker wrote there; is the file system that they share full or "
                "slow? The same command goes on; put the output elsewhere if this comes again"
            )

    def keep(self, task: PieceTask, data: bytes) -> None:
        """Write a piece that a worker has returned. Raises OutputNotWritableError."""
        part = self.path / f"{task.file}.part"
        try:
            part.write_bytes(data)
            part.replace(self.path / task.file)
        except OSError as error:
            raise not_writable(part, error) from error

    def remove(self) -> None:
        """Remove the folder if this run has opened it: the work is done, or would fail again."""
        if self._opened:
            shutil.rmtree(self.path, ignore_errors=True)
