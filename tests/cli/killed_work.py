"""Runs commands over and over in forked children, ends each in the middle of its work, and tells what is left.

killed_work.py FOLDER: prints a JSON list of trials. The heavy imports happen once, before the first fork.
"""

import json
import os
import random
import resource
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch  # noqa: F401 - imported before the forks
from safetensors.numpy import save_file

from qacomp.cli.main import main

TRIALS = 20  # that end a command in the middle, each way
MOST = 80
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
SIDE = 400  # of the matrix: large enough that a kill meets the work, small enough for many trials


def forked(arguments: list[str], log: Path, before: Callable[[], object] = lambda: None) -> int:
    """The number of a child that runs the command line."""
    child = os.fork()
    if child:
        return child
    signal.signal(signal.SIGINT, signal.default_int_handler)
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    code = 1
    try:
        before()
        main(arguments)
    except SystemExit as left:
        code = int(left.code or 0)
    finally:
        os._exit(code)


def ended(child: int) -> int:
    """The child's exit code, negative for the signal that it died of."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def parts(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.name.endswith(".part")]


def interrupted(child: int, number: signal.Signals, folder: Path, seconds: float | None) -> None:
    """Send the signal after so many seconds, or (None) as soon as a part file has some bytes."""
    start = time.monotonic()
    while os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        try:
            grown = seconds is None and any(path.stat().st_size for path in parts(folder))
        except FileNotFoundError:
            continue
        time.sleep(0.0005)
        if grown or (seconds is not None and time.monotonic() - start >= seconds):
            os.kill(child, number)
            return


def state(outputs: list[Path], old: list[bytes], new: list[bytes]) -> str:
    there = [path.read_bytes() if path.exists() else b"" for path in outputs]
    return "old" if there == old else "new" if there == new else "broken"


def run_all(folder: Path, arguments: list[str], outputs: list[Path], log: Path) -> list[dict[str, Any]]:
    """Trials of one command, whose outputs all exist before: each way to end it, TRIALS times."""
    old = [b"what stood here " * 5_000 for _ in outputs]  # no container: --force replaces it

    def restore() -> None:
        for path, data in zip(outputs, old, strict=True):
            path.write_bytes(data)

    restore()
    start = time.monotonic()
    assert ended(forked(arguments, log)) == 0, log.read_text()
    seconds, new = time.monotonic() - start, [path.read_bytes() for path in outputs]
    rng, trials = random.Random(0), []
    for number in SIGNALS:
        met = 0  # a signal may come when all is done: it counts where it met the work
        for trial in range(MOST):
            if met == TRIALS:
                break
            restore()
            child = forked(arguments, log)
            interrupted(child, number, folder, rng.uniform(0.02, 0.7 * seconds) if trial % 2 else None)
            code = ended(child)
            found = {"how": number.name, "code": code, "state": state(outputs, old, new), "log": log.read_text()}
            met += found["state"] == "old"
            trials.append(found | {"parts": len(parts(folder))})
    size = sum(map(len, new))
    for _ in range(TRIALS):
        restore()
        limit = rng.randrange(4096, size * 9 // 10)  # the log fits
        child = forked(arguments, log, lambda n=limit: resource.setrlimit(resource.RLIMIT_FSIZE, (n, n)))  # type: ignore[misc]
        code = ended(child)
        found = {"how": "full", "code": code, "state": state(outputs, old, new), "log": log.read_text()}
        trials.append(found | {"parts": len(parts(folder))})
    restore()
    assert ended(forked(arguments, log)) == 0 and not parts(folder), "what SIGKILL left is swept by the next run"
    return trials


if __name__ == "__main__":
    work = Path(sys.argv[1])
    values = np.random.default_rng(0).standard_normal((SIDE, SIDE)).astype(np.float32)
    save_file({"w": values, "v": values[::-1].copy()}, work / "m.safetensors")
    assert ended(forked(["compress", f"{work}/m.safetensors", "-o", f"{work}/m.qac"], work / "log")) == 0
    made: dict[str, Any] = {}
    for name, command, files in (
        ("compress", ["compress", f"{work}/m.safetensors", "-f", "-o"], ["c/x.qac"]),
        ("decode", ["decode", f"{work}/m.qac", "-f", "-o"], ["d/x.safetensors"]),
    ):
        paths = [work / file for file in files]
        paths[0].parent.mkdir()
        made[name] = run_all(paths[0].parent, [*command, str(paths[0])], paths, work / "log")
    sys.stdout.write(json.dumps(made))
