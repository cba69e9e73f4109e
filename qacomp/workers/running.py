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


class Pool(Protocol):
    """Workers that take tasks. most: how many tasks they should hold, those that wait included."""

    @property
    def most(self) -> int: ...  # noqa: D102

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

    If a worker dies, the tasks that were lost with it are repeated one at a time, so that the one at fault is found.
    name: of a task, for the WorkerError after `MOST_DEATHS` deaths. An exception of the work itself is raised.
    """
    waiting, suspects = deque(range(len(tasks))), deque[int]()
    running: dict[Future[R], int] = {}
    deaths = Counter[int]()
    while waiting or suspects or running:
        while len(running) < (1 if suspects else pool.most) and (suspects or waiting):
            alone = bool(suspects)
            number = suspects.popleft() if alone else waiting.popleft()
            running[pool.submit(work, tasks[number])] = number
            if alone:
                break
        lost: list[int] = []
        all_lost = False
        for future in pool.wait(list(running)):
            number = running.pop(future)
            try:
                result = future.result()
            except Exception as error:
                how = pool.death(error)
                if how is None:
                    raise
                all_lost |= how == "all"
                lost.append(number)
                continue
            yield number, result
        if all_lost:
            lost += running.values()
            running.clear()
            pool.renew()
        for number in sorted(lost):
            deaths[number] += 1
            if deaths[number] >= MOST_DEATHS:
                raise WorkerError(
                    f"{name(tasks[number])}: its worker process ended {MOST_DEATHS} times without a result; is there "
                    "too little memory? Try fewer --workers"
                )
            suspects.append(number)
