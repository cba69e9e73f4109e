"""A pool whose workers and time are simulated: what a large cluster does with tasks, in seconds on one core.

`completed` runs in it unchanged. Workers differ in speed, and each dies now and then, with the task that it has.
"""

import heapq
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from qacomp.workers.running import AHEAD

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Machines:
    """Simulated machines. slow: the share of those that take `factor` times as long; mtbf: mean hours between deaths.

    A machine that died is replaced at once. copies: see `Pool`.
    """

    count: int
    slow: float = 0.0
    factor: float = 10.0
    mtbf: float = float("inf")
    copies: bool = True
    seed: int = 0


class DeadMachine(Exception):
    """The machine of a task died."""


class SimulatedPool:
    """A Pool of simulated machines. seconds: how long a task takes on a usual one; `now`: the simulated seconds."""

    def __init__(self, machines: Machines, seconds: Callable[[Any], float]) -> None:
        self.now, self.busy, self.died = 0.0, 0.0, 0
        self.most, self.copies = AHEAD * machines.count, machines.copies
        self._machines, self._seconds = machines, seconds
        self._random = np.random.default_rng(machines.seed)
        self._pace = np.where(self._random.random(machines.count) < machines.slow, machines.factor, 1.0)
        self._free = list(range(machines.count))
        self._queue: deque[tuple[Future[Any], Callable[[Any], Any], Any]] = deque()
        self._ends: list[tuple[float, int, int, bool, tuple[Future[Any], Callable[[Any], Any], Any]]] = []
        self._started = 0

    def submit(self, work: Callable[[T], R], task: T) -> "Future[R]":
        """Let the task wait for a free machine."""
        future: Future[R] = Future()
        self._queue.append((future, work, task))
        return future

    def wait(self, futures: "Sequence[Future[Any]]") -> "Sequence[Future[Any]]":
        """Let time pass until a task ends; return its future."""
        while self._queue and self._free:
            self._start(self._queue.popleft())
        self.now, _, machine, dies, (future, work, task) = heapq.heappop(self._ends)
        self._free.append(machine)
        if dies:
            self.died += 1
            future.set_exception(DeadMachine())
        else:
            future.set_result(work(task))
        return [future]

    def death(self, error: BaseException) -> str | None:
        """Return "one" for a dead machine: it had one task."""
        return "one" if isinstance(error, DeadMachine) else None

    def renew(self) -> None:
        """Do nothing: dead machines are replaced."""

    def _start(self, job: tuple[Future[Any], Callable[[Any], Any], Any]) -> None:
        machine = self._free.pop()
        takes = self._seconds(job[2]) * float(self._pace[machine])
        lives = float(self._random.exponential(1.0)) * self._machines.mtbf * 3600
        self._started += 1
        self.busy += min(takes, lives)
        heapq.heappush(self._ends, (self.now + min(takes, lives), self._started, machine, lives < takes, job))
