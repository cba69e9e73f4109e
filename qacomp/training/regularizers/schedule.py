"""How a regularizer's strength λ goes along training."""

import math
from dataclasses import dataclass

from qacomp.errors import ConfigError

SCHEDULES = ("constant", "warmup", "tanh")


@dataclass(frozen=True)
class StrengthSchedule:
    """λ(t)/λ at the fraction t of the training's steps.

    constant: 1. warmup: from 0 linearly to 1 over the first `warmup` (a fraction of the steps). tanh:
    ½ (1 + tanh((e − 0.2 E) / width)) at epoch e of E, as in SinReQ's published fork of Distiller, where `width` is 20
    epochs; for short trainings a width of E/10 or so lets λ rise all the way.
    """

    kind: str = "warmup"
    warmup: float = 0.5
    epochs: int = 1
    width: float = 20.0

    def __call__(self, progress: float) -> float:
        """Return the factor in [0, 1] at the fraction `progress` of the steps. Raises ConfigError for the kind."""
        if self.kind == "constant":
            return 1.0
        if self.kind == "warmup":
            return 1.0 if self.warmup <= 0 else min(1.0, progress / self.warmup)
        if self.kind == "tanh":
            return 0.5 * (1.0 + math.tanh((progress - 0.2) * self.epochs / self.width))
        raise ConfigError(f"strength schedule '{self.kind}': must be one of {', '.join(SCHEDULES)}")
