"""Options of running a model to measure it: what it may take."""

import re
from dataclasses import dataclass
from typing import Self

from qacomp.errors import ConfigError
from qacomp.options.declaration import Option, option

SECONDS = 60.0
MEMORY = "4GB"
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "KI": 1 << 10, "MI": 1 << 20, "GI": 1 << 30}
_RUNNING = "Running the model"


def memory_bytes(text: str) -> int:
    """Return bytes of `4GB`, `512MB`, `2GiB` or a number. Raise ConfigError for anything else, and for nothing."""
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,3})?|\d{1,18})\s*([KMGT]I?|)B?", text.strip().upper(), re.ASCII)
    number = float(found[1]) * _UNITS.get(found[2], 0) if found else 0
    if number < 1:
        raise ConfigError(f"run_memory = {text!r}: give a size such as 4GB or 500MB")
    return int(number)


def check_seconds(value: float) -> float:
    """Return `value`, if it is a time. Raise ConfigError."""
    if not 0 < value < float("inf"):
        raise ConfigError(f"run_seconds = {value}: must be greater than zero")
    return value


@dataclass(frozen=True)
class RunLimits:
    """`seconds`: of loading a model, and of each of its runs; `memory`: bytes beside a few times the model's own."""

    seconds: float = SECONDS
    memory: int = memory_bytes(MEMORY)

    @classmethod
    def of(cls, seconds: float, memory: str) -> Self:
        """Return limits as the settings give them. Raise ConfigError for what can't work."""
        return cls(check_seconds(seconds), memory_bytes(memory))


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
