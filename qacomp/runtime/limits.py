"""How much time and memory a model may take while it runs, and what is said where it takes more."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from qacomp.errors import StoppedRunError
from qacomp.options.running import RunLimits

IN_ALL = 10  # times --run-seconds for all requests: what takes just less each time would be run a hundred times
ON_DATA = 60  # the same where a model runs on a data set: an hour by default


class Measuring:
    """The running of one file's models: its limits, the time spent, and, once a model was stopped, why nothing runs."""

    def __init__(self, limits: RunLimits) -> None:
        self.limits = limits
        self.stopped: StoppedRunError | None = None
        self.spent = 0.0
        self._times = IN_ALL

    @property
    def seconds_in_all(self) -> float:
        """Return what all requests together may take."""
        return self._times * self.limits.seconds

    @property
    def seconds_left(self) -> float:
        """Return what the next request may take: the limit of one, or what the limit of all has left."""
        return max(0.0, min(self.limits.seconds, self.seconds_in_all - self.spent))

    def spend(self, seconds: float) -> None:
        """Count the time that a request has taken."""
        self.spent += seconds

    def on_data(self) -> None:
        """Allow the many runs that a data set takes."""
        self._times = ON_DATA

    def check(self) -> None:
        """Raise the error of a model that was stopped before."""
        if self.stopped is not None:
            raise self.stopped

    def stop(self, error: StoppedRunError) -> StoppedRunError:
        """Run nothing more; gives `error`, to be raised."""
        self.stopped = error
        return error


_current: ContextVar[Measuring | None] = ContextVar("measuring", default=None)


@contextmanager
def limited_runs(limits: RunLimits) -> Iterator[None]:
    """Hold all models that run inside to `limits`; after the first that is stopped no other one runs."""
    token = _current.set(Measuring(limits))
    try:
        yield
    finally:
        _current.reset(token)


@contextmanager
def measured_together() -> Iterator[None]:
    """Hold what runs inside to the limits that hold outside, or, without any, to one set of the default limits."""
    if _current.get() is not None:
        yield
        return
    with limited_runs(RunLimits()):
        yield


def measuring() -> Measuring:
    """Return the measuring that goes on: of `limited_runs`, or one with the default limits."""
    return _current.get() or Measuring(RunLimits())
