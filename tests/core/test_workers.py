"""Workers of a pool run tasks: one that dies is repeated, one that dies each time is named, none outlives a run."""

import multiprocessing
import os
import platform
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from model_folders import write_folder

import qacomp
from qacomp.errors import ConfigError, WorkerError
from qacomp.workers.choice import Workers, workers_of
from qacomp.workers.memory import keeping_freed_memory
from qacomp.workers.pools import opened
from qacomp.workers.running import MOST_DEATHS, completed


def square(number: int) -> int:
    return number * number


def die_once(mark: Path) -> str:
    """End the worker if the file isn't there yet."""
    if mark.name == "whole":
        return "whole"
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "repeated"


def die(number: int) -> int:
    if number == 3:
        os._exit(1)
    return number


def fail(number: int) -> int:
    raise ValueError(f"task {number}")


def sleep(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@pytest.mark.parametrize("count", [1, 2])
def test_every_task_is_done_once(count: int) -> None:
    with opened(Workers(count)) as pool:
        assert dict(completed(range(20), square, pool, str)) == {n: n * n for n in range(20)}


def test_a_task_whose_worker_died_is_repeated(tmp_path: Path) -> None:
    tasks = [tmp_path / "whole", tmp_path / "a", *[tmp_path / "whole"] * 5]
    with opened(Workers(2)) as pool:
        done = dict(completed(tasks, die_once, pool, str))
    assert [done[n] for n in range(7)] == ["whole", "repeated", *["whole"] * 5]


def test_a_task_that_always_ends_its_worker_is_named() -> None:
    done = []
    with (
        pytest.raises(WorkerError, match=rf"task 3: its worker process ended {MOST_DEATHS} times"),
        opened(Workers(2)) as pool,
    ):
        for number, _ in completed(range(6), die, pool, lambda n: f"task {n}"):
            done.append(number)
    assert 3 not in done and len(done) == len(set(done))


@pytest.mark.parametrize("count", [1, 2])
def test_an_error_of_the_work_is_raised_and_ends_all(count: int) -> None:
    before = set(multiprocessing.active_children())
    with pytest.raises(ValueError, match="task"), opened(Workers(count)) as pool:
        list(completed(range(4), fail, pool, str))
    assert not set(multiprocessing.active_children()) - before


def test_an_interruption_ends_all_workers_at_once() -> None:
    before = set(multiprocessing.active_children())
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt), opened(Workers(2)) as pool:
        list(completed([60.0, 60.0], sleep, pool, str))
    assert not set(multiprocessing.active_children()) - before


def test_the_choice_is_a_number_or_an_address() -> None:
    assert workers_of(None) == workers_of("1") == workers_of(1) == Workers()
    assert workers_of("4") == Workers(4) and workers_of(0).count >= 1
    assert workers_of("tcp://10.0.0.1:8786") == Workers(1, "tcp://10.0.0.1:8786")
    for bad in ("-1", "many", "http://x", "9999", "tcp://a b", ""):
        with pytest.raises(ConfigError, match="--workers"):
            workers_of(bad)


def test_a_small_model_says_why_one_process_works(tmp_path: Path) -> None:
    values = torch.linspace(-1, 1, 2048).reshape(32, 64)
    write_folder(tmp_path / "m", {"model.safetensors": {"w.weight": values}}, {})
    one, two = (qacomp.compress(tmp_path / "m", output=tmp_path / f"{n}.qac", workers=n) for n in (1, 2))
    assert (tmp_path / "1.qac").read_bytes() == (tmp_path / "2.qac").read_bytes()
    said = [note for note in two.notes if "--workers has no effect: below 1 GiB" in note]
    assert len(said) == 1 and "--workers" not in "".join(one.notes)


MEASURED = """
import resource
import threading
import time
import numpy as np
from qacomp.workers import memory
from qacomp.workers.memory import keeping_freed_memory

memory._IDLE_S = 0.05

def page_faults(arrays):
    before = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
    for _ in range(arrays):
        np.ones(1 << 17)
    return resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - before

def told():
    found = [keeping_freed_memory(page_faults, 64) for _ in range(3)]
    time.sleep(0.3)
    print(*found, page_faults(64), threading.active_count())

thread = threading.Thread(target=told)  # as a worker of a cluster does
thread.start()
thread.join()
"""
"""Prints how often the system gives memory while arrays of 1 MiB are made and freed: in three tasks, and after them.

In a process of its own, since one that has run for long may have room for the arrays anyway.
"""


@pytest.mark.skipif(not hasattr(os, "confstr") or "glibc" not in platform.libc_ver(), reason="needs glibc")
def test_a_task_keeps_the_memory_of_freed_arrays() -> None:
    done = subprocess.run([sys.executable, "-P", "-c", MEASURED], capture_output=True, text=True, check=True)
    first, *more, trimmed, threads = map(int, done.stdout.split())
    assert first < trimmed / 2 and max(more) < first / 2  # the next task finds what the first one has left
    assert threads == 2  # and the one that waits for more tasks has ended
    with pytest.raises(ZeroDivisionError):
        keeping_freed_memory(lambda number: 1 // number, 0)
