"""Run a command in the processes of torchrun: one does the work and prints, the others only share its training."""

import sys

from qacomp.cli.streams import silence
from qacomp.ranks.launch import launched

_SHARED = ("compress", "train")
"""Commands that train. Of any other one the first process alone does everything."""


def is_shared() -> bool:
    """Return whether torchrun has started several processes."""
    return launched()[1] > 1


def is_first() -> bool:
    """Return whether this process is the one that writes and prints, as it is without torchrun."""
    return launched()[0] == 0


def left_to_first(arguments: list[str]) -> bool:
    """Return whether this process has nothing to do; otherwise make it silent if it isn't the first one."""
    if is_first():
        return False
    if not any(name in arguments[:1] for name in _SHARED):
        return True
    for stream in (sys.stdout, sys.stderr) if "--debug" not in arguments else (sys.stdout,):
        if stream is not None:
            silence(stream)
    return False
