"""Commands in several processes at once, as torchrun starts them: forked, so that torch is imported only once."""

import contextlib
import hashlib
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from qacomp.cli.main import main
from qacomp.training import setup
from qacomp.training.resume import ResumeStore


def together(arguments: Sequence[str], name: str, size: int, change: Callable[[int], object] = int) -> dict[str, Any]:
    """Run a command in `size` processes, and tell its seconds, and each one's exit code, stdout and stderr.

    change: called in each child with its number, before the command. Files NAME-NUMBER.out and so on are left.
    """
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    start = time.monotonic()
    children = [_child([*arguments], f"{name}-{rank}", (rank, size, port), change) for rank in range(size)]
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    texts = {end: [Path(f"{name}-{rank}.{end}").read_text() for rank in range(size)] for end in ("out", "err")}
    return {"codes": codes, "seconds": time.monotonic() - start, **texts}


def _child(arguments: list[str], name: str, place: tuple[int, int, int], change: Callable[[int], object]) -> int:
    child = os.fork()
    if child:
        return child
    code = 70
    try:
        for number, end in ((1, "out"), (2, "err")):
            os.dup2(os.open(f"{name}.{end}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        rank, size, port = place
        if size > 1:
            os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size)}
            os.environ |= {"LOCAL_WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        change(rank)
        main(arguments)
    except SystemExit as left:
        code = int(left.code or 0)
    finally:
        with contextlib.suppress(ValueError):
            sys.stdout.flush()
        os._exit(code)


def leaving_digests(name: str) -> Callable[[int], None]:
    """A change after which each process writes a digest of its network after each stage: NAME-STAGE-NUMBER.sha."""

    def change(rank: int) -> None:
        train = vars(setup)["train"]

        def watched(model: torch.nn.Module, *others: Any) -> Any:
            records = train(model, *others)
            found = hashlib.sha256()
            for key, value in sorted(model.state_dict().items()):
                found.update(key.encode() + value.contiguous().numpy().tobytes())
            Path(f"{name}-{others[1].name}-{rank}.sha").write_text(found.hexdigest())
            return records

        vars(setup)["train"] = watched

    return change


def killed_after_an_epoch(rank: int) -> None:
    """A change that kills the first process, and it alone, when it has saved its first epoch."""
    save = ResumeStore.save

    def saving(self: ResumeStore, stage: str, state: dict[str, Any], *, last: bool) -> None:
        save(self, stage, state, last=last)
        os.kill(os.getpid(), signal.SIGKILL)

    ResumeStore.save = saving  # type: ignore[method-assign]
