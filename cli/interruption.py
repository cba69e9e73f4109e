"""Turn signals that end a command into exceptions, as Ctrl-C is one, so that no part of an output is left behind."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType


class Terminated(KeyboardInterrupt):
    """A signal other than Ctrl-C that asks the process to end; exit_code: 128 + its number, as in the shell."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


@contextmanager
def ending_in_order() -> Iterator[None]:
    """Turn SIGTERM and SIGHUP into `Terminated` while the block runs; a second signal ends the process at once."""
    before: dict[int, object] = {}

    def end(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        raise Terminated(number)

    if threading.current_thread() is threading.main_thread():
        for name in ("SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is signal.SIG_DFL:  # nohup ignores SIGHUP: keep that
                before[number] = signal.signal(number, end)
    try:
        yield
    finally:
        for number in before:
            signal.signal(number, signal.SIG_DFL)


@contextmanager
def saying_what_is_kept(output: Path) -> Iterator[None]:
    """Say with an interruption, or the failure of another process, what a run saved beside `output` of its work."""
    from qacomp.errors import RanksError

    try:
        yield
    except KeyboardInterrupt as interrupt:
        if kept := _kept(output):
            interrupt.add_note(kept)
        raise
    except RanksError as error:
        if kept := _kept(output):
            raise RanksError(f"{error}; {kept}") from None
        raise


def _kept(output: Path) -> str:
    """Return what a run saved beside `output`, in words; empty for nothing."""
    suffixes = {"epochs": ".resume", "trials": ".journal", "tensors": ".tensors"}
    saved = [what for what, suffix in suffixes.items() if output.with_name(output.name + suffix).exists()]
    return f"finished {' and '.join(saved)} are kept: run the same command again to continue" if saved else ""
