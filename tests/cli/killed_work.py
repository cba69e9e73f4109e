"""Runs commands over and over in forked children, ends each in the middle of its work, and tells what is left.

killed_work.py FOLDER: prints a JSON list of trials. The heavy imports happen once, before the first fork.
"""

import importlib
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
from qacomp.formats import codec_choice

TRIALS = 3  # that end a command in the middle, each way
MOST = 80
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
SIDES = {"compress": 140, "decode": 800}  # of the matrices: a kill meets the work, and trials are short


def nothing() -> None:
    """Do nothing before or after a command."""


def forked(
    arguments: list[str], log: Path, before: Callable[[], object] = nothing, after: Callable[[], object] = nothing
) -> int:
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
        after()
    finally:
        os._exit(code)


def ended(child: int) -> int:
    """The child's exit code, negative for the signal that it died of."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def import_all(arguments: list[str], log: Path) -> None:
    """Import here, where later children find them, the modules that a first child needs for the command."""
    known, names = set(sys.modules), log.with_suffix(".modules")
    child = forked(arguments, log, after=lambda: names.write_text("\n".join(sys.modules.keys() - known)))
    assert ended(child) == 0, log.read_text()
    for name in names.read_text().splitlines():
        importlib.import_module(name)


def parts(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.name.endswith(".part")]


def alive(child: int) -> bool:
    """Whether the child still runs; its exit code stays to be asked for."""
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None


def catches(child: int, number: signal.Signals) -> bool:
    """Whether the child has a handler for the signal by now; where no /proc tells, the command may not have begun."""
    try:
        status = Path(f"/proc/{child}/status").read_text()
    except OSError:
        return True
    masks = [int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigCgt:")]
    return any(mask >> (number - 1) & 1 for mask in masks)


def interrupted(child: int, number: signal.Signals, folder: Path, seconds: float | None) -> None:
    """Send the signal after so many seconds of the command, or (None) as soon as a part file has some bytes."""
    while alive(child) and not catches(child, signal.SIGTERM):
        time.sleep(0.001)
    start = time.monotonic()
    while alive(child):
        try:
            grown = seconds is None and any(path.stat().st_size for path in parts(folder))
        except FileNotFoundError:
            continue
        time.sleep(0.001)
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
            interrupted(child, number, folder, rng.uniform(0, 0.7 * seconds) if trial % 2 else None)
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


def matrices(folder: Path, side: int) -> Path:
    values = np.random.default_rng(0).standard_normal((side, side)).astype(np.float32)
    save_file({"w": values, "v": values[::-1].copy()}, folder / f"{side}.safetensors")
    return folder / f"{side}.safetensors"


if __name__ == "__main__":
    vars(codec_choice)["default_codecs"] = lambda: ("raw", "zstd", "bitpack")  # trying all takes most of the time
    work = Path(sys.argv[1])
    log = work / "log"
    large = str(matrices(work, SIDES["decode"]))
    import_all(["compress", large, "--k", "16", "-o", f"{work}/m.qac"], log)
    import_all(["decode", f"{work}/m.qac", "-o", f"{work}/m.safetensors"], log)
    made: dict[str, Any] = {}
    for (command, *flags), source, output in (
        (("compress", "--k", "16"), str(matrices(work, SIDES["compress"])), work / "c" / "x.qac"),
        (("decode",), f"{work}/m.qac", work / "d" / "x.safetensors"),
    ):
        output.parent.mkdir()
        made[command] = run_all(output.parent, [command, *flags, source, "-f", "-o", str(output)], [output], log)
    sys.stdout.write(json.dumps(made))
