"""Open a pool of workers: this process itself, processes of this machine, or a Dask cluster."""

import contextlib
import math
import multiprocessing
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

from qacomp.errors import WorkerError
from qacomp.workers.choice import Workers
from qacomp.workers.memory import keep_freed_memory, keeping_freed_memory
from qacomp.workers.running import AHEAD, Pool

T = TypeVar("T")
R = TypeVar("R")
_CONNECT_S = 15  # seconds in which a scheduler has to answer
_COUNT_S = 1.0  # seconds between two questions to a scheduler: how many workers are there?
_WATCH_S = 1.0  # seconds between two looks at whether the parent process is there


@contextmanager
def opened(workers: Workers) -> Iterator[Pool]:
    """Yield the pool that `workers` means; if the block fails, tasks that run are ended.

    Raises WorkerError if a scheduler doesn't answer, or the package for it is missing.
    """
    if workers.scheduler is not None:
        with _cluster(workers.scheduler) as pool:
            yield pool
    elif workers.count == 1:
        yield ThisProcess()
    else:
        local = Processes(workers.count)
        try:
            yield local
        except BaseException:
            local.kill()
            raise
        local.close()


class ThisProcess:
    """A pool of one worker: a task is done when it is submitted."""

    most = 1
    copies = False

    def submit(self, work: Callable[[T], R], task: T) -> "Future[R]":
        """Do the task now."""
        future: Future[R] = Future()
        try:
            future.set_result(work(task))
        except Exception as error:
            future.set_exception(error)
        return future

    def wait(self, futures: "Sequence[Future[Any]]") -> "Sequence[Future[Any]]":
        """Return all futures, which are done."""
        return futures

    def death(self, error: BaseException) -> None:
        """Return None: there is no worker that could die."""

    def renew(self) -> None:
        """Do nothing."""


class Processes:
    """A pool of processes of this machine. They ignore Ctrl-C, which their parent gets, and end with their parent."""

    copies = False  # they share cores and memory

    def __init__(self, count: int) -> None:
        self.most = AHEAD * count
        self._count = count
        self._others = set(multiprocessing.active_children())
        self._executor = self._started()

    def submit(self, work: Callable[[T], R], task: T) -> "Future[R]":
        """Give the task to a process; raises BrokenExecutor in the future if it dies."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # about threads, which the workers don't use
            try:
                return self._executor.submit(work, task)
            except BrokenExecutor as error:
                future: Future[R] = Future()
                future.set_exception(error)
                return future

    def wait(self, futures: "Sequence[Future[Any]]") -> "Sequence[Future[Any]]":
        """Wait until one is done."""
        return list(wait(futures, return_when=FIRST_COMPLETED).done)

    def death(self, error: BaseException) -> str | None:
        """Return "all" for a dead process: its executor gives up all tasks then."""
        return "all" if isinstance(error, BrokenExecutor) else None

    def renew(self) -> None:
        """Start new processes."""
        self.kill()
        self._executor = self._started()

    def close(self) -> None:
        """End the processes, which have nothing to do any more."""
        self._executor.shutdown()

    def kill(self) -> None:
        """End the processes at once, whatever they do."""
        for process in multiprocessing.active_children():
            if process not in self._others:
                process.kill()
        self._executor.shutdown(cancel_futures=True)

    def _started(self) -> Executor:
        forks = hasattr(os, "fork") and sys.platform != "darwin"
        context = multiprocessing.get_context("fork" if forks else "spawn")
        return ProcessPoolExecutor(self._count, context, _prepare, (os.getpid(),))


def _prepare(parent: int) -> None:
    """Prepare a worker process: signals end it at once, it has one thread, and it ends when its parent is gone.

    It keeps freed memory, since it does nothing but tasks.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_DFL)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    keep_freed_memory()
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_WATCH_S)
    os._exit(1)


class Cluster:
    """The workers of a Dask cluster, which repeats the tasks of a dead worker itself, up to its `allowed-failures`."""

    copies = True

    def __init__(self, client: Any) -> None:
        self._client = client
        self._executor: Executor = client.get_executor(pure=False)
        self._most, self._asked = AHEAD, -math.inf

    @property
    def most(self) -> int:
        """Return two tasks for each thread of the workers that are there now; a worker may join at any time."""
        if time.monotonic() - self._asked > _COUNT_S:
            threads: dict[str, int] = self._client.nthreads()
            self._most, self._asked = AHEAD * max(1, sum(threads.values())), time.monotonic()
        return self._most

    def submit(self, work: Callable[[T], R], task: T) -> "Future[R]":
        """Send the task to the scheduler."""
        return self._executor.submit(partial(keeping_freed_memory, work), task)

    def wait(self, futures: "Sequence[Future[Any]]") -> "Sequence[Future[Any]]":
        """Wait until one is done."""
        return list(wait(futures, return_when=FIRST_COMPLETED).done)

    def death(self, error: BaseException) -> str | None:
        """Return "one" for a task that ended as many workers as the scheduler allows."""
        return "one" if type(error).__name__ == "KilledWorker" else None

    def renew(self) -> None:
        """Do nothing: the cluster starts its workers itself."""

    def close(self) -> None:
        """Leave the cluster, which then drops the tasks of this run."""
        with contextlib.suppress(Exception):  # the scheduler may be gone
            self._executor.shutdown(wait=False)
        self._client.close(timeout=_CONNECT_S)


@contextmanager
def _cluster(address: str) -> Iterator[Cluster]:
    try:
        from distributed import Client
    except ImportError as error:
        message = f"--workers {address} needs Dask ({error}); install it: pip install 'qacomp[cluster]'"
        raise WorkerError(message) from error
    try:
        client = Client(address, timeout=_CONNECT_S, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise WorkerError(
            f"--workers {address}: no Dask scheduler answers ({' '.join(str(error).split())[:200]}); start one with "
            "`dask scheduler`, and workers with `dask worker`"
        ) from error
    pool = Cluster(client)
    try:
        yield pool
    finally:
        pool.close()
