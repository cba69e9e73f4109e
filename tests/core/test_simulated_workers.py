"""The code that gives tasks to workers, on simulated clusters with slow machines and deaths."""

import numpy as np
import pytest

from qacomp.errors import WorkerError
from qacomp.workers.running import MOST_DEATHS, completed
from qacomp.workers.simulated import Machines, SimulatedPool


def double(task: tuple[int, float]) -> int:
    return 2 * task[0]


def hours(machines: Machines, tasks: list[tuple[int, float]]) -> tuple[SimulatedPool, dict[int, int]]:
    """Run tasks (number, seconds) to the end; the pool tells the time."""
    pool = SimulatedPool(machines, lambda task: task[1])
    return pool, dict(completed(tasks, double, pool, str))


def tasks_of(count: int) -> list[tuple[int, float]]:
    sizes = np.random.default_rng(1).uniform(50, 150, count)
    return list(enumerate(sizes.tolist()))


@pytest.mark.parametrize("count", [1, 7, 64])
def test_every_task_is_done_once_in_about_the_time_that_its_work_takes(count: int) -> None:
    tasks = tasks_of(300)
    pool, done = hours(Machines(count), tasks)
    assert done == {n: 2 * n for n in range(300)}
    ideal = sum(seconds for _, seconds in tasks) / count
    assert ideal <= pool.now <= ideal + 150


def test_copies_keep_slow_machines_from_being_waited_for() -> None:
    tasks = tasks_of(400)
    slow = [hours(Machines(50, slow=0.05, factor=20, copies=copies), tasks)[0].now for copies in (False, True)]
    assert slow[1] < 0.6 * slow[0]


def test_deaths_cost_only_the_work_that_was_lost() -> None:
    tasks = tasks_of(2000)
    pool, done = hours(Machines(100, mtbf=1.0), tasks)  # one task in 36 is lost
    assert len(done) == 2000 and 30 < pool.died < 120
    assert pool.busy < 1.1 * sum(seconds for _, seconds in tasks)


def test_a_task_that_always_dies_ends_the_run() -> None:
    with pytest.raises(WorkerError, match=f"{MOST_DEATHS} times"):
        hours(Machines(4, mtbf=1e-6), tasks_of(3))
