"""Hold how a model is read: what the caller allows and knows, and which data the settings then name."""

from dataclasses import dataclass, field
from typing import Any

from qacomp.options.config import CompressConfig
from qacomp.progress import Progress, SilentProgress


@dataclass(frozen=True)
class Reading:
    """Hold how to read a model. `trust_pickle`: run code of its pickle; `input_shape`: (C, H, W) of a module's input.

    progress: shows the reading of a large model.
    """

    trust_pickle: bool = False
    input_shape: tuple[int, int, int] | None = None
    progress: Progress = field(default_factory=SilentProgress)


def naming(config: CompressConfig, given: Any) -> CompressConfig:
    """Return the settings with `data` set to the spec that is used; unchanged for data in memory, which has no spec."""
    return config.with_settings({"data": given}, "data") if given is None or isinstance(given, str) else config
