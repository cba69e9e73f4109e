"""Decode the tensors of a container by workers, each straight to its place in a file that has its header already."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from qacomp.errors import ExportError
from qacomp.exporting.safetensors_output import Shape
from qacomp.formats import Container, open_file
from qacomp.formats.destination import not_writable
from qacomp.progress import Progress
from qacomp.workers.choice import Workers
from qacomp.workers.pools import opened
from qacomp.workers.running import completed

_PART = 1 << 24  # bytes that are read back at once


@dataclass(frozen=True)
class DecodeTask:
    """One tensor. container: the file that holds it; target, place: the file to write to, and the offset in it."""

    container: Path
    truncated: bool
    name: str
    level: int | None
    shape: Shape
    target: Path
    place: int

    def __str__(self) -> str:
        """Return the tensor's name for a message."""
        return f"tensor {self.name[:80]}"


def decode_tensor(task: DecodeTask) -> None:
    """Decode a tensor, write it to its place and read it back. A worker calls this.

    Raises FormatError, OutputNotWritableError, and ExportError if the file doesn't hold what was written.
    """
    array = _opened(task.container, task.truncated, os.stat(task.container).st_mtime_ns).tensor(
        task.name, level=task.level
    )
    if array.dtype != task.shape.dtype or array.shape != task.shape.sizes:
        raise ExportError(f"{task.name[:80]}: is {array.dtype}{list(array.shape)}, but the header says {task.shape}")
    data = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    try:
        with task.target.open("r+b") as file:
            file.seek(task.place)
            file.write(data.data)
            file.flush()
            file.seek(task.place)
            same = all(
                file.read(min(_PART, data.size - start)) == data[start : start + _PART].tobytes()
                for start in range(0, data.size, _PART)
            )
    except OSError as error:
        raise not_writable(task.target, error) from error
    if not same:
        raise ExportError(f"{task.target}: isn't what was written to it; is the disk damaged?")


def decode_tensors(tasks: Sequence[DecodeTask], workers: Workers, progress: Progress) -> None:
    """Decode all tensors. Raises WorkerError, and the errors of `decode_tensor`."""
    with progress.task("tensors", len(tasks)) as bar, opened(workers) as pool:
        for _ in completed(tasks, decode_tensor, pool, str):
            bar.advance()


@lru_cache(maxsize=1)
def _opened(path: Path, truncated: bool, changed: int) -> Container:
    """Open a container once in each worker process; changed: when the file was written, so that no old one is kept."""
    return open_file(path, allow_truncated=truncated)
