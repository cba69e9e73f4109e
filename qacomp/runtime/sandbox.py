"""Run models in a child process that can be stopped: at a limit of time or memory. A crash of onnxruntime ends only it.

One child serves all sessions of a process. It is started for the first session, and again after it was stopped.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from qacomp.errors import ExportError, RunLimitError, RuntimeCrashError, StoppedRunError
from qacomp.options.running import RunLimits
from qacomp.runtime import wire
from qacomp.runtime.limits import Measuring

_START_SECONDS = 300.0  # limit for starting Python and onnxruntime, generous for a busy machine
_TICK = 0.02  # seconds between two checks of the child's memory
_WEIGHTS = 4  # times a model's bytes are allowed in addition to --run-limits: read, parsed, and rearranged copies
_CODE = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from qacomp.runtime.worker import main; main(sys.argv[2] == 'main-thread')"
)


class RefusedError(ExportError):
    """onnxruntime refuses a model or its inputs; the message is onnxruntime's."""


class Child:
    """The process that runs models, and the pipes to it.

    sessions: number of an open session -> bytes of its model; closed: numbers of sessions to close with the next
    request; reason: the error that stopped the process.
    """

    def __init__(self) -> None:
        self.owner = os.getpid()
        self.lock = threading.RLock()
        self.sessions: dict[int, int] = {}
        self.closed: list[int] = []
        self.reason: StoppedRunError | None = None
        path = json.dumps([entry or os.getcwd() for entry in sys.path])
        thread = "main-thread" if threading.current_thread() is threading.main_thread() else "thread"
        command = [sys.executable, "-I", "-c", _CODE, path, thread]
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0
            )
        except OSError as error:
            raise ExportError(f"the process that runs models can't be started ({error}); free some memory") from error
        assert self._process.stdin is not None and self._process.stdout is not None
        self._to, self._from = self._process.stdin.fileno(), self._process.stdout.fileno()
        os.set_blocking(self._to, False)
        os.set_blocking(self._from, False)
        try:
            wire.read(_Exchange(self, RunLimits(_START_SECONDS, 1 << 50), [], 0).receive, 0)
        except BaseException:
            self.end()
            raise
        self._baseline = self.resident() or 0

    @property
    def pid(self) -> int:
        """Return the process id of the child."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Return whether the child can take requests: it runs, and this process (not a forked one) started it."""
        return self.owner == os.getpid() and self.reason is None and self._process.poll() is None

    def ask(
        self, header: Mapping[str, Any], values: Sequence[Any], measuring: Measuring, *, extra_seconds: float = 0.0
    ) -> tuple[dict[str, Any], list[Any]]:
        """Send a request and return (answer, values).

        extra_seconds: added to the time limit, for a request that measures for so long. Raises RefusedError if
        onnxruntime refuses the request, RunLimitError past a limit, RuntimeCrashError if the child ends. After the last
        two the child is gone, and every further request of `measuring` raises the same error.
        """
        with self.lock:
            if measuring.stopped or self.reason:
                raise measuring.stopped or self.reason or AssertionError
            limits = measuring.limits
            memory = limits.memory + _WEIGHTS * sum(self.sessions.values())
            closed, self.closed = self.closed, []
            parts = wire.pack({**header, "memory": memory, "closed": closed}, values)
            allowed, began = measuring.seconds_left, time.monotonic()
            exchange = _Exchange(self, RunLimits(allowed + extra_seconds, memory), parts, self._baseline)
            try:
                answer, outputs = wire.read(exchange.receive, limits.memory)
            except TimeoutError:
                raise self._stop(measuring, RunLimitError(_past_time(measuring, allowed))) from None
            except MemoryError:
                raise self._stop(measuring, past_memory(limits)) from None
            except (EOFError, OSError, wire.WireError) as error:
                raise self._stop(measuring, RuntimeCrashError(self._last_words(error))) from None
            except BaseException:  # mostly KeyboardInterrupt
                self.end()
                raise
            measuring.spend(time.monotonic() - began)
            if answer.get("error") == "memory":
                raise self._stop(measuring, past_memory(limits))
            if "error" in answer:
                raise RefusedError(str(answer.get("text"))[:2000])
            return answer, outputs

    def end(self) -> None:
        """Kill the process and wait for its end."""
        if self.owner != os.getpid():
            return
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        self.reason = self.reason or RuntimeCrashError("the process in which models run was ended")

    def resident(self) -> int | None:
        """Return the child's resident memory in bytes; None without /proc."""
        try:
            fields = Path(f"/proc/{self._process.pid}/statm").read_bytes().split()
            return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")
        except (OSError, IndexError, ValueError):
            return None

    def _stop(self, measuring: Measuring, error: StoppedRunError) -> StoppedRunError:
        self.reason = error
        self.end()
        return measuring.stop(error)

    def _last_words(self, error: Exception) -> str:
        """Return a message about a child that ended by itself: how it ended, and what the cause may be."""
        try:
            code = self._process.wait(5)
        except subprocess.TimeoutExpired:
            code = 0
        if code < 0:
            names = {entry.value: entry.name for entry in signal.Signals}
            how = f"was ended by {names.get(-code, f'signal {-code}')}"
        else:
            how = f"left with exit code {code}" if code else f"sent an invalid answer ({type(error).__name__})"
        return f"the process that ran the model {how}: the model crashes onnxruntime, or the system had no memory left"


class _Exchange:
    """Sends one request and receives its reply, within limits of time and memory."""

    def __init__(self, child: Child, limits: RunLimits, parts: Sequence[Any], baseline: int) -> None:
        self._child, self._limits, self._baseline = child, limits, baseline
        self._out = [memoryview(part).cast("B") for part in parts]
        self._deadline = time.monotonic() + limits.seconds
        self._poll = select.poll()
        self._poll.register(child._from, select.POLLIN)
        if self._out:
            self._poll.register(child._to, select.POLLOUT)

    def receive(self, size: int) -> bytearray:
        """Return the next `size` bytes of the reply; meanwhile send the rest of the request.

        Raises TimeoutError or MemoryError past a limit, EOFError if the child has ended.
        """
        data = bytearray(size)
        view, done, looked = memoryview(data), 0, 0.0
        while done < size:
            ready = dict(self._poll.poll(1000 * _TICK))
            if self._child._to in ready and self._out:
                self._send()
            if self._child._from in ready:
                got = os.readv(self._child._from, [view[done:]])
                if not got:
                    raise EOFError
                done += got
            now = time.monotonic()
            if now > self._deadline:
                raise TimeoutError
            if now - looked > _TICK:
                looked = now
                if (self._child.resident() or 0) - self._baseline > self._limits.memory:
                    raise MemoryError
        return data

    def _send(self) -> None:
        self._out[0] = self._out[0][os.write(self._child._to, self._out[0][: 1 << 20]) :]
        while self._out and not len(self._out[0]):
            del self._out[0]
        if not self._out:
            self._poll.unregister(self._child._to)


class _Shared:
    """The one child of this process."""

    def __init__(self) -> None:
        self._child: Child | None = None
        self._lock = threading.Lock()
        self._numbers = 0

    def child(self) -> Child:
        """Return the running child, or start a new one."""
        with self._lock:
            if self._child is None or not self._child.alive:
                self.end()
                self._child = Child()
            return self._child

    def number(self) -> int:
        """Return a session number that was never used before."""
        self._numbers += 1
        return self._numbers

    def end(self) -> None:
        """Kill the child, if there is one."""
        child, self._child = self._child, None
        if child is not None:
            child.end()


_shared = _Shared()
child: Callable[[], Child] = _shared.child
new_number: Callable[[], int] = _shared.number
atexit.register(_shared.end)


def _past_time(measuring: Measuring, allowed: float) -> str:
    """Return the message for a model that takes too long, in one request or in all of them together."""
    seconds, where = measuring.limits.seconds, ""
    if allowed < seconds:
        seconds, where = measuring.seconds_in_all, " for all its runs together"
    return f"the model was stopped after {seconds:g} s{where}; --run-limits seconds=... allows more"


def past_memory(limits: RunLimits) -> RunLimitError:
    """Return the error for a model that takes too much memory."""
    held = f"{limits.memory / 1e9:.3g} GB"
    return RunLimitError(f"the model was stopped at {held} of memory; --run-limits memory=... allows more")
