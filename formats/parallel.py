"""Chunks on several cores: forked processes over shared memory, since array steps of microseconds fight for the GIL.

Where a process can't be forked (other systems than POSIX) the work is done in turn; the results are the same bytes.
"""

import math
import mmap
import os
import pickle
import sys
import tempfile
import warnings
from collections.abc import Callable
from typing import IO, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")


def shared_empty(shape: tuple[int, ...], dtype: "np.dtype[Any]") -> NDArray[Any]:
    """Return an array that forked workers can fill in; its memory goes when the array does."""
    size = math.prod(shape) * dtype.itemsize
    if size == 0:
        return np.empty(shape, dtype)
    return np.frombuffer(mmap.mmap(-1, size), dtype, math.prod(shape)).reshape(shape)


def run(count: int, threads: int, work: Callable[[int], T]) -> list[T]:
    """Call work(0), ..., work(count - 1) on up to `threads` processes: results in order, the first exception raised."""
    threads = min(threads, count)
    if threads <= 1 or not hasattr(os, "fork") or sys.platform == "darwin":
        return [work(number) for number in range(count)]
    workers: list[tuple[int, IO[bytes]]] = []
    results: dict[int, T] = {}
    failure: BaseException | None = None
    try:
        for worker in range(1, threads):
            box: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed below
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # forking beside idle threads: we only compute
                pid = os.fork()
            if pid == 0:
                _work(range(worker, count, threads), work, box)
            workers.append((pid, box))
        for number in range(0, count, threads):
            results[number] = work(number)
    except BaseException as error:
        failure = error
    for pid, box in workers:
        with box:
            _, status = os.waitpid(pid, 0)
            box.seek(0)
            outcome = pickle.load(box) if status == 0 else RuntimeError(f"a worker process ended with status {status}")
        if isinstance(outcome, BaseException):
            failure = failure or outcome
        else:
            results.update(outcome)
    if failure is not None:
        raise failure
    return [results[number] for number in range(count)]


def _work(numbers: range, work: Callable[[int], T], box: IO[bytes]) -> None:
    """Run a worker to its end: it never returns into the caller's program."""
    status = 1
    try:
        try:
            outcome: Any = {number: work(number) for number in numbers}
        except Exception as error:
            outcome = error
        pickle.dump(outcome, box)
        box.flush()
        status = 0
    finally:
        os._exit(status)
