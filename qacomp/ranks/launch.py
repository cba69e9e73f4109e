"""Tell which process of a run this is, by the environment that torchrun sets; nothing large is imported for it."""

import os
from collections.abc import Mapping

_ADDRESS = ("MASTER_ADDR", "MASTER_PORT")


def launched(environment: Mapping[str, str] | None = None) -> tuple[int, int]:
    """Return (number of this process from 0, number of processes) as torchrun set them; (0, 1) without torchrun."""
    given = os.environ if environment is None else environment
    try:
        rank, size = int(given["RANK"]), int(given["WORLD_SIZE"])
    except (KeyError, ValueError):
        return 0, 1
    if size < 2 or not 0 <= rank < size or not all(given.get(name) for name in _ADDRESS):
        return 0, 1
    return rank, size
