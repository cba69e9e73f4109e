"""Keep freed memory for the next array while a task runs, instead of returning it to the system after each one.

Tasks make and free arrays of some MiB all the time. With each of them the system maps memory, fills it with zeros, and
takes it back, which costs CPU time. Dask asks for that (MALLOC_TRIM_THRESHOLD_), since its workers keep
objects for long. For glibc alone; elsewhere nothing is changed.
"""

import ctypes
import os
import sys
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")
_TRIM, _MMAP = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h
_LARGEST_ARRAY = 32 << 20  # bytes; glibc takes no larger threshold: arrays above it are mapped each time
_MOST_KEPT = 512 << 20  # bytes that are free at the end of the heap; tasks need some hundred MiB at most
_USUAL = 128 << 10  # both thresholds of glibc, where nothing else is said
_SAID = "MALLOC_TRIM_THRESHOLD_"


def keep_freed_memory() -> None:
    """Keep freed memory from now on: for a process that does nothing but tasks."""
    if (library := _glibc()) is not None:
        library.mallopt(_MMAP, _LARGEST_ARRAY)
        library.mallopt(_TRIM, _MOST_KEPT)


def keeping_freed_memory(work: Callable[[T], R], task: T) -> R:
    """Return work(task); freed memory is kept meanwhile, and returned to the system at the end."""
    keep_freed_memory()
    try:
        return work(task)
    finally:
        if (library := _glibc()) is not None:
            said = os.environ.get(_SAID, "")
            library.mallopt(_MMAP, _USUAL)
            library.mallopt(_TRIM, int(said) if said.isdecimal() and int(said) < 1 << 31 else _USUAL)
            library.malloc_trim(0)


@cache
def _glibc() -> Any:
    """Return the C library of this process, if it is glibc; else None."""
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "gnu_get_libc_version") and hasattr(library, "mallopt") else None
