"""Run independent tasks on the workers of a pool, a bounded number at a time, and repeat those whose worker died.

The pool may be real or simulated: this file reads no clock and starts no process.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import Any, Protocol, TypeVar

from qacomp.errors import WorkerError

T = TypeVar("T")
R = TypeVar("R")
MOST_DEATHS = 3
"""How often a task may end its worker before the run gives up."""
AHEAD = 2
"""Tasks for each worker, so that none waits for the next one."""


class Pool(Protocol):
    """Workers that take tasks. most: how many tasks they should hold, `AHEAD` for each worker.

    copies: whether a worker without a task may get a copy of one that runs elsewhere.
    """

    @property
    def most(self) -> int: ...  # noqa: D102
    @property
    def copies(self) -> bool: ...  # noqa: D102

    def submit(self, work: Callable[[T], R], task: T) -> "Future[R]":
        """Start work(task), or let it wait for a free worker."""
        ...

    def wait(self, futures: "Sequence[Future[Any]]") -> "Sequence[Future[Any]]":
        """Wait until at least one of the futures is done, and return all that are."""
        ...

    def death(self, error: BaseException) -> str | None:
        """Return "all" if an error means that a worker died and all its pool's tasks are lost, "one" if only its own.

        None for any other error.
        """
        ...

    def renew(self) -> None:
        """Start new workers after all tasks were lost."""
        ...


def completed(
    tasks: Sequence[T], work: Callable[[T], R], pool: Pool, name: Callable[[T], str]
) -> Iterator[tuple[int, R]]:
    """Yield (number of the task, its result) in the order in which tasks are done.

    A task whose worker died is repeated; if all running tasks were lost with it, they are repeated one at a time, so
    that the one at fault is found. When no task waits any more, workers of a pool with `copies` get second copies of
    tasks that still run, so that the last result doesn't wait for a slow machine; the first result counts.
    name: of a task, for the WorkerError after `MOST_DEATHS` deaths. An exception of the work itself is raised.
    """
    waiting, suspects = deque(range(len(tasks))), deque[int]()
    running: dict[Future[R], int] = {}
    done, copied = set[int](), set[int]()
    deaths = Counter[int]()
    while len(done) < len(tasks):
        if suspects and not running:
            number = suspects.popleft()
            running[pool.submit(work, tasks[number])] = number
        while waiting and not suspects and len(running) < pool.most:
            number = waiting.popleft()
            running[pool.submit(work, tasks[number])] = number
        if pool.copies and not waiting and not suspects:
            slow = [number for number in running.values() if number not in copied]
            for number in slow[: max(0, pool.most // AHEAD - len(running))]:
                copied.add(number)
                running[pool.submit(work, tasks[number])] = number
        lost: list[int] = []
        all_lost = False
        for future in pool.wait(list(running)):
            number = running.pop(future)
            if number in done:
                continue
            try:
                result = future.result()
            except Exception as error:
                how = pool.death(error)
                if how is None:
                    raise
                all_lost |= how == "all"
                lost.append(number)
                continue
            done.add(number)
            yield number, result
        if all_lost:
            lost += running.values()
            running.clear()
            pool.renew()
        for number in sorted(set(lost) - done):
            deaths[number] += 1
            if deaths[number] >= MOST_DEATHS:
                raise WorkerError(
                    f"{name(tasks[number])}: its worker process ended {MOST_DEATHS} times without a result; is there "
                    "too little memory? Try fewer --workers"
                )
            if all_lost:
                suspects.append(number)
            elif number not in running.values():
                waiting.appendleft(number)
    for future in running:
        future.cancel()
