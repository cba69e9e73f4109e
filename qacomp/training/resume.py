"""Save the state of a long run, so that the same command continues after Ctrl-C instead of starting again."""

import contextlib
import copy
import hashlib
import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from qacomp.batches.examples import Examples
from qacomp.checkpoints import Checkpoint
from qacomp.checkpoints.torch_file import load_plain
from qacomp.errors import OutputNotWritableError
from qacomp.formats.atomic import write_atomically
from qacomp.options.config import CompressConfig
from qacomp.version import VERSION

_MIN_INTERVAL_S = 20.0


class ResumeStore:
    """One file beside the output with the state of each stage, and a fingerprint of input, settings and seed.

    A file with another fingerprint, or one that can't be read, is ignored and overwritten. `finish` removes the file.
    Writing never fails a run: where it fails, nothing more is saved, and `note` is called with a text that says so.
    """

    def __init__(self, path: Path, fingerprint: str, note: Callable[[str], None] = lambda text: None) -> None:
        self.path = path
        self.fingerprint = fingerprint
        self._note = note
        self._closed = False  # nothing more is saved
        self._stages: dict[str, Any] | None = None
        self._saved_at = float("-inf")

    def load(self, stage: str) -> dict[str, Any] | None:
        """Return the state last saved for `stage`, or None."""
        if self._stages is None:
            self._stages = self._read()
        state: dict[str, Any] | None = self._stages.get(stage)
        return state

    def save(self, stage: str, state: dict[str, Any], *, last: bool) -> None:
        """Keep the `state` of a stage (tensors, plain values); write the file at most every 20 s and if `last`."""
        if self._closed:
            return
        if self._stages is None:
            self._stages = {}
        self._stages[stage] = copy.deepcopy(state) if last else state  # the next stage changes these tensors in place
        if not last and time.monotonic() - self._saved_at < _MIN_INTERVAL_S:
            return
        buffer = io.BytesIO()
        torch.save({"fingerprint": self.fingerprint, "stages": self._stages}, buffer)
        try:
            write_atomically(self.path, [buffer.getvalue()])
        except OutputNotWritableError as error:
            self._closed = True
            self._note(f"the state of the training isn't saved any more ({error}); an interrupted run trains again")
            return
        self._saved_at = time.monotonic()

    def finish(self) -> None:
        """Remove the file: the work is done and written."""
        with contextlib.suppress(OSError):  # the output is written; what stays is only in the way
            self.path.unlink(missing_ok=True)

    def _read(self) -> dict[str, Any]:
        if not self.path.is_file():
            return {}
        try:
            kept = load_plain(self.path)
        except Exception:  # whatever is wrong with the file, the run can start from the beginning
            return {}
        if not isinstance(kept, dict) or kept.get("fingerprint") != self.fingerprint:
            return {}
        stages: dict[str, Any] = kept["stages"]
        return stages


def fingerprint(checkpoint: Checkpoint, config: CompressConfig, data: Examples | None) -> str:
    """Return the SHA-256, in hex, over the input file, the settings, the versions, the data's name and its digest."""
    parts = [checkpoint.digest, config.to_toml(), VERSION, torch.__version__]
    if data is not None:
        parts += [data.spec, data.digest()]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
