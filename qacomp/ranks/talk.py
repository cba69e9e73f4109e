"""Exchange values between the processes of a run: those of the first one, marks, and the reason why one failed."""

import io
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch._C._distributed_c10d import PrefixStore

from qacomp.errors import RanksError

ANSWER_S = 600.0
"""Seconds within which processes that compute the same step must meet: NCCL's own default."""
_WHOLE_RUN = timedelta(days=365)  # the first process may work alone as long as it lives
_FAILURE = "failure"
_LATE_S = 2.0  # a process says why it failed before it closes its connections, so the words are there by then
_LONGEST_SLEEP_S = 0.02


class Talk:
    """A channel on the CPU, whatever device the network is on. Waiting can be interrupted.

    number: of the channel in this program, the same in every process; so a store that several channels use has no clash
    of keys.
    """

    def __init__(self, number: int) -> None:
        self.group = dist.new_group(backend="gloo", timeout=_WHOLE_RUN)
        self.store = PrefixStore(f"qacomp/{number}", dist.distributed_c10d._get_default_store())

    def gather(self, numbers: Sequence[int]) -> list[tuple[int, ...]]:
        """Return the numbers of each process, in order; all give equally many. Raises RanksError."""
        own = torch.tensor(list(numbers), dtype=torch.int64)
        found = [torch.empty_like(own) for _ in range(self.group.size())]
        self._done(dist.all_gather(found, own, group=self.group, async_op=True), ANSWER_S)
        return [tuple(tensor.tolist()) for tensor in found]

    def send(self, value: Any) -> None:
        """Give every other process a value that can be pickled, on the CPU there. Raises RanksError."""
        buffer = io.BytesIO()
        torch.save(value, buffer)
        packed = torch.frombuffer(buffer.getbuffer(), dtype=torch.uint8)
        for tensor in (torch.tensor([packed.numel()]), packed):
            self._done(dist.broadcast(tensor, 0, group=self.group, async_op=True), ANSWER_S)

    def receive(self) -> Any:
        """Return the value that the first process sends, however long it works before. Raises RanksError."""
        size = torch.zeros(1, dtype=torch.int64)
        self._done(dist.broadcast(size, 0, group=self.group, async_op=True), None)
        packed = torch.empty(int(size), dtype=torch.uint8)
        self._done(dist.broadcast(packed, 0, group=self.group, async_op=True), ANSWER_S)
        # The sender is this very program: whoever can join the group could change any gradient too.
        return torch.load(io.BytesIO(packed.numpy().tobytes()), map_location="cpu", weights_only=False)

    def add_up(self, tensor: Tensor) -> Tensor:
        """Return the sum of a tensor over all processes, in place, on the network's device. Raises RanksError."""
        try:
            dist.all_reduce(tensor)
        except RuntimeError as error:
            raise self.lost(error) from error
        return tensor

    def tell_failure(self, text: str) -> None:
        """Leave word of why this process ends; the first word stays."""
        try:
            if not self.store.check([_FAILURE]):
                self.store.set(_FAILURE, text)
        except RuntimeError:  # the store is gone with the process that held it
            return

    def failure(self, wait: float = 0.0) -> str:
        """Return why a process failed, empty if none said so within `wait` seconds."""
        end = time.monotonic() + wait
        try:
            while not self.store.check([_FAILURE]):
                if time.monotonic() >= end:
                    return ""
                time.sleep(_LONGEST_SLEEP_S)
            text: bytes = self.store.get(_FAILURE)
        except RuntimeError:
            return ""
        return text.decode(errors="replace")

    def lost(self, error: RuntimeError) -> RanksError:
        """Return the error of a broken connection, in the words of the process that failed if it left any."""
        text = self.failure(_LATE_S) or f"another process has ended, or doesn't answer ({_first_line(error)})"
        return RanksError(text)

    def _done(self, work: Any, seconds: float | None) -> None:
        """Wait until a collective is done; Ctrl-C ends the wait. None: as long as the others live."""
        start = time.monotonic()
        while not work.is_completed():
            waited = time.monotonic() - start
            if seconds is not None and waited > seconds:
                raise RanksError(f"another process doesn't answer for {seconds:.0f} s; is its loader of data stuck?")
            time.sleep(min(_LONGEST_SLEEP_S, waited / 8))
        try:
            work.wait()
        except RuntimeError as error:
            raise self.lost(error) from error


def _first_line(error: RuntimeError) -> str:
    return str(error).strip().partition("\n")[0][:200]
