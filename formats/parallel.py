"""Work on chunks on several cores: forked processes with shared memory, since threads would wait for the GIL.

Where processes can't be forked (Windows, macOS), the chunks are done one after the other, with the same result.
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
    """Return an array in memory that forked workers can fill; the memory is freed with the array."""
    size = math.prod(shape) * dtype.itemsize
    if size == 0:
        return np.empty(shape, dtype)
    return np.frombuffer(mmap.mmap(-1, size), dtype, math.prod(shape)).reshape(shape)


def run(count: int, threads: int, work: Callable[[int], T]) -> list[T]:
    """Call work(0), ..., work(count - 1) on up to `threads` processes; return the results in order.

    If calls fail, one of their exceptions is raised when all processes have ended.
    """
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
                warnings.simplefilter("ignore", DeprecationWarning)  # about threads, which the worker doesn't use
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
    """Do a worker's share, write the results or the exception to `box`, and end the process; never returns."""
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
