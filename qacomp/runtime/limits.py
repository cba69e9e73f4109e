"""The limits of time and memory for models that run, and the record of the time spent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from qacomp.errors import StoppedRunError
from qacomp.options.running import RunLimits

IN_ALL = 10  # times the seconds of --run-limits for all requests: one just below the limit may be repeated many times
ON_DATA = 60  # the same for a model that runs on a data set: an hour by default


class Measuring:
    """The account of one file's models: limits, time spent, and, once a model was stopped, the error in `stopped`."""

    def __init__(self, limits: RunLimits) -> None:
        self.limits = limits
        self.stopped: StoppedRunError | None = None
        self.spent = 0.0
        self._times = IN_ALL

    @property
    def seconds_in_all(self) -> float:
        """Return the seconds that all requests together may take."""
        return self._times * self.limits.seconds

    @property
    def seconds_left(self) -> float:
        """Return the seconds that the next request may take: the limit of one, or what is left of the limit of all."""
        return max(0.0, min(self.limits.seconds, self.seconds_in_all - self.spent))

    def spend(self, seconds: float) -> None:
        """Count the time that a request has taken."""
        self.spent += seconds

    def on_data(self) -> None:
        """Allow the total time that many runs on a data set take."""
        self._times = ON_DATA

    def check(self) -> None:
        """Raise the error of a model that was stopped before, if there was one."""
        if self.stopped is not None:
            raise self.stopped

    def stop(self, error: StoppedRunError) -> StoppedRunError:
        """Refuse all further requests with `error`; return it, for the caller to raise."""
        self.stopped = error
        return error


_current: ContextVar[Measuring | None] = ContextVar("measuring", default=None)


@contextmanager
def limited_runs(limits: RunLimits) -> Iterator[None]:
    """Apply `limits` to all models that run in the block; after one is stopped no other model runs in it."""
    token = _current.set(Measuring(limits))
    try:
        yield
    finally:
        _current.reset(token)


@contextmanager
def measured_together() -> Iterator[None]:
    """Apply the limits that are active to the models that run in the block, or the default limits if there are none."""
    if _current.get() is not None:
        yield
        return
    with limited_runs(RunLimits()):
        yield


def measuring() -> Measuring:
    """Return the active account: that of the enclosing `limited_runs`, else a new one with the default limits."""
    return _current.get() or Measuring(RunLimits())
