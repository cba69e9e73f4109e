"""Read what --workers says: a number of processes of this machine, or the address of a cluster's scheduler."""

import os
import re
from dataclasses import dataclass

from qacomp.errors import ConfigError

_MOST = 1024  # processes of one machine
_ADDRESS = re.compile(r"(tcp|tls)://[\w.\-\[\]:]{1,250}", re.ASCII)


@dataclass(frozen=True)
class Workers:
    """The processes that share work. count: of this machine; scheduler: the address of a Dask scheduler, or None."""

    count: int = 1
    scheduler: str | None = None


ALONE = Workers()
"""This process alone."""


def workers_of(given: int | str | None) -> Workers:
    """Return what `given` means: a number, 0 for all cores, or tcp://HOST:PORT. Raises ConfigError."""
    if given is None:
        return ALONE
    text = str(given).strip()
    if _ADDRESS.fullmatch(text):
        return Workers(1, text)
    if not re.fullmatch(r"\d{1,6}", text, re.ASCII) or int(text) > _MOST:
        raise ConfigError(
            f"--workers {text[:80]!r}: give a number of processes up to {_MOST:,}, 0 for one a core, or the address of "
            "a Dask scheduler, tcp://HOST:PORT"
        )
    return Workers(int(text) or _cores())


def _cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
