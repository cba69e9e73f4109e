"""The schedule of a regularizer's strength λ during training."""

import math
from dataclasses import dataclass

from qacomp.errors import ConfigError

SCHEDULES = ("constant", "warmup", "tanh")


@dataclass(frozen=True)
class StrengthSchedule:
    """The factor r(t) = λ(t)/λ after the fraction t of the training's steps.

    kind: `constant` is 1; `warmup` rises linearly from 0 to 1 over the first `warmup` (a fraction of the steps); `tanh`
    is ½ (1 + tanh((e − 0.2 E) / width)) at epoch e of `epochs` = E, as in SinReQ's published fork of Distiller. There
    `width` is 20 epochs; in short trainings a width of about E/10 lets λ rise to its full value.
    """

    kind: str = "warmup"
    warmup: float = 0.5
    epochs: int = 1
    width: float = 20.0

    def __call__(self, progress: float) -> float:
        """Return the factor in [0, 1] after the fraction `progress` of the steps. ConfigError for an unknown kind."""
        if self.kind == "constant":
            return 1.0
        if self.kind == "warmup":
            return 1.0 if self.warmup <= 0 else min(1.0, progress / self.warmup)
        if self.kind == "tanh":
            return 0.5 * (1.0 + math.tanh((progress - 0.2) * self.epochs / self.width))
        raise ConfigError(f"strength schedule '{self.kind}': must be one of {', '.join(SCHEDULES)}")
