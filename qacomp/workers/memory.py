"""Keep freed memory for the next array while tasks run, instead of returning it to the system after each array.

Tasks make and free arrays of some MiB all the time. With each of them the system maps memory, fills it with zeros, and
takes it back, which costs CPU time. Dask asks for that (MALLOC_TRIM_THRESHOLD_), since its workers keep
objects for long. For glibc alone; elsewhere nothing is changed.
"""

import ctypes
import os
import sys
import threading
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")
_TRIM, _TOP_PAD, _MMAP = -1, -2, -3  # M_TRIM_THRESHOLD, M_TOP_PAD and M_MMAP_THRESHOLD of malloc.h
_LARGEST_ARRAY = 32 << 20  # bytes; glibc takes no larger threshold: arrays above it are mapped each time
_MOST_KEPT = 512 << 20  # bytes that are free at the end of the heap; tasks need some hundred MiB at most
_PART_OF_HEAP = 64 << 20  # bytes of each part of a thread's heap: with this padding glibc unmaps no part that is free
_USUAL = 128 << 10  # all three in glibc, where nothing else is said
_SAID = "MALLOC_TRIM_THRESHOLD_"
_IDLE_S = 2.0  # seconds without a task after which a worker of many users returns its memory


def keep_freed_memory() -> None:
    """Keep freed memory from now on: for a process that does nothing but tasks."""
    if (library := _glibc()) is not None:
        library.mallopt(_MMAP, _LARGEST_ARRAY)
        library.mallopt(_TRIM, _MOST_KEPT)
        library.mallopt(_TOP_PAD, _PART_OF_HEAP)


class _Kept:
    """Counts the tasks that run in this process; returns freed memory to the system when none has run for a while."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running = 0
        self._idle: threading.Event | None = None  # set when a task follows

    def begin(self) -> None:
        """Keep freed memory from now on."""
        with self._lock:
            if self._idle is not None:
                self._idle.set()
                self._idle = None
            elif not self._running:
                keep_freed_memory()
            self._running += 1

    def end(self) -> None:
        """Keep freed memory for `_IDLE_S` more, if no other task runs."""
        with self._lock:
            self._running -= 1
            if not self._running:
                self._idle = threading.Event()
                threading.Thread(target=self._give_back_after, args=(self._idle,), daemon=True).start()

    def _give_back_after(self, idle: threading.Event) -> None:
        idle.wait(_IDLE_S)
        with self._lock:
            if idle is not self._idle:
                return  # a task has begun meanwhile
            self._idle = None
            if (library := _glibc()) is not None:
                said = os.environ.get(_SAID, "")
                library.mallopt(_MMAP, _USUAL)
                library.mallopt(_TOP_PAD, _USUAL)
                library.mallopt(_TRIM, int(said) if said.isdecimal() and int(said) < 1 << 31 else _USUAL)
                library.malloc_trim(0)


_KEPT = _Kept()


def keeping_freed_memory(work: Callable[[T], R], task: T) -> R:
    """Return work(task); freed memory is kept for this task and the next, and returned when none follows."""
    _KEPT.begin()
    try:
        return work(task)
    finally:
        _KEPT.end()


@cache
def _glibc() -> Any:
    """Return the C library of this process, if it is glibc; else None."""
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "gnu_get_libc_version") and hasattr(library, "mallopt") else None
