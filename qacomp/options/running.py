"""Declare the options that limit the time and memory of running a model to measure it."""

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
    """Return the bytes of a size such as `4GB`, `512MB`, `2GiB` or a number. Raises ConfigError."""
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,3})?|\d{1,18})\s*([KMGT]I?|)B?", text.strip().upper(), re.ASCII)
    number = float(found[1]) * _UNITS.get(found[2], 0) if found else 0
    if number < 1:
        raise ConfigError(f"run_memory = {text!r}: give a size such as 4GB or 500MB")
    return int(number)


def check_seconds(value: float) -> float:
    """Return `value` if it is a finite time above zero. Raises ConfigError."""
    if not 0 < value < float("inf"):
        raise ConfigError(f"run_seconds = {value}: must be a finite number greater than zero")
    return value


@dataclass(frozen=True)
class RunLimits:
    """The limits of running a model. seconds: for loading it and for each run; memory: bytes besides its weights."""

    seconds: float = SECONDS
    memory: int = memory_bytes(MEMORY)

    @classmethod
    def of(cls, seconds: float, memory: str) -> Self:
        """Return the limits for the values of two settings. Raises ConfigError for an invalid value."""
        return cls(check_seconds(seconds), memory_bytes(memory))


@dataclass(frozen=True, kw_only=True)
class RunningOptions:
    """The time and memory that a model may take while it runs; a model above them isn't measured."""

    run_seconds: float = option(
        SECONDS,
        Option(
            "Most seconds for loading a model and for each run; all runs together may take ten times as long, those on"
            " your data sixty times. A model above the limit isn't measured.",
            _RUNNING,
            check=check_seconds,
        ),
    )
    run_memory: str = option(
        MEMORY,
        Option(
            "Most memory, besides its weights, that a running model may take. A model above the limit isn't measured.",
            _RUNNING,
            check=memory_bytes,
            metavar="SIZE",
        ),
    )

    @property
    def run_limits(self) -> RunLimits:
        """Return the limits of both settings. Raises ConfigError for an invalid value."""
        return RunLimits.of(self.run_seconds, self.run_memory)
