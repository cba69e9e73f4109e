"""Declare the options that limit the time and memory of running a model to measure it."""

import re
from dataclasses import dataclass

from qacomp.errors import ConfigError
from qacomp.options.declaration import Bounds, Option, option
from qacomp.options.parts import check_parts

SECONDS = 60.0
MEMORY = "4GB"
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "KI": 1 << 10, "MI": 1 << 20, "GI": 1 << 30}
_RUNNING = "Running the model"


def memory_bytes(text: str) -> int:
    """Return the bytes of a size such as `4GB`, `512MB`, `2GiB` or a number. Raises ConfigError."""
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,3})?|\d{1,18})\s*([KMGT]I?|)B?", text.strip().upper(), re.ASCII)
    number = float(found[1]) * _UNITS.get(found[2], 0) if found else 0
    if number < 1:
        raise ConfigError(f"memory = {text[:100]!r}: give a size such as 4GB or 500MB")
    return int(number)


@dataclass(frozen=True)
class RunLimits:
    """The limits of running a model. seconds: for loading it and for each run; memory: bytes besides its weights."""

    seconds: float = SECONDS
    memory: int = memory_bytes(MEMORY)


@dataclass(frozen=True)
class RunLimitOptions:
    """The parts of --run-limits."""

    seconds: float = option(
        SECONDS,
        Option(
            "Most seconds for loading a model and for each run; in total ten times as many, on your data sixty times.",
            bounds=Bounds(0, 1e9, open_low=True),  # about 30 years; greater than zero and finite
        ),
    )
    memory: str = option(
        MEMORY,
        Option("Most memory that a running model may use besides its weights.", check=memory_bytes, metavar="SIZE"),
    )

    @property
    def limits(self) -> RunLimits:
        """Return the limits as numbers. Raises ConfigError for an invalid value."""
        check_parts("--run-limits", self)
        return RunLimits(self.seconds, memory_bytes(self.memory))


@dataclass(frozen=True, kw_only=True)
class RunningOptions:
    """The time and memory that a model may use while it runs; a model that needs more isn't measured."""

    run_limits: RunLimitOptions = option(
        RunLimitOptions(),
        Option(
            "Limits of running a model: seconds=60,memory=4GB. A model that needs more isn't measured.",
            _RUNNING,
            parts=RunLimitOptions,
        ),
    )
