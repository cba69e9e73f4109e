"""Options of running a model to measure it: what it may take."""

from dataclasses import dataclass

from qacomp.evaluation.limits import MEMORY, SECONDS, RunLimits, check_seconds, memory_bytes
from qacomp.options.declaration import Option, option

_RUNNING = "Running the model"


@dataclass(frozen=True, kw_only=True)
class RunningOptions:
    """What a model may take while it runs; past it nothing is measured."""

    run_seconds: float = option(
        SECONDS,
        Option(
            "Seconds that loading a model, and each of its runs, may take; ten times as many in all, and sixty times on"
            " your data. Past them nothing is measured.",
            _RUNNING,
            check=check_seconds,
        ),
    )
    run_memory: str = option(
        MEMORY,
        Option(
            "Memory that a model may take beside its weights while it runs. Past it nothing is measured.",
            _RUNNING,
            check=memory_bytes,
            metavar="SIZE",
        ),
    )

    @property
    def run_limits(self) -> RunLimits:
        """Return what a model may take while it runs. Raise ConfigError for a setting that can't work."""
        return RunLimits.of(self.run_seconds, self.run_memory)
