"""The schedules of a regularizer's strength λ during training (--schedule), a decorated function each."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from qacomp.options.declaration import FRACTION, POSITIVE, Option, option
from qacomp.options.method import MethodChoice
from qacomp.options.method_table import MethodTable
from qacomp.options.registry import Registry

Schedule: TypeAlias = Callable[[float], float]
"""(fraction of the training's steps done so far) -> λ(t)/λ in [0, 1]."""


@dataclass(frozen=True)
class ScheduleOptions:
    """The empty set of hyper-parameters; a schedule with hyper-parameters derives its own dataclass."""


@dataclass(frozen=True)
class WarmupOptions(ScheduleOptions):
    """Hyper-parameters of warmup."""

    fraction: float = option(0.5, Option("Fraction of the steps in which λ rises from 0.", bounds=FRACTION))


@dataclass(frozen=True)
class TanhOptions(ScheduleOptions):
    """Hyper-parameters of tanh."""

    width: float | None = option(
        None, Option("Epochs over which λ rises.", bounds=POSITIVE, shown="a tenth of all, 1 to 20")
    )


ScheduleFunction: TypeAlias = Callable[[float, int, Any], float]
"""(fraction of the steps done so far, number of epochs, hyper-parameters) -> λ(t)/λ in [0, 1]."""
SCHEDULES: MethodTable[ScheduleFunction] = MethodTable(
    "schedule", ScheduleOptions, Registry("schedule", "qacomp.training.regularizers.schedule", ""), optional=False
)


def strength_schedule(choice: MethodChoice, epochs: int) -> Schedule:
    """Return the chosen schedule for a training of `epochs` epochs. Raise ConfigError for an unknown schedule."""
    factor, options = SCHEDULES.find(choice.name), SCHEDULES.options(choice)
    return lambda progress: factor(progress, epochs, options)


@SCHEDULES.register("constant")
def constant(progress: float, epochs: int, options: ScheduleOptions) -> float:
    """Return 1."""
    return 1.0


@SCHEDULES.register("warmup", WarmupOptions)
def warmup(progress: float, epochs: int, options: WarmupOptions) -> float:
    """Return a factor that rises linearly from 0 to 1 over the first `fraction` of the steps, and stays 1."""
    return 1.0 if options.fraction <= 0 else min(1.0, progress / options.fraction)


@SCHEDULES.register("tanh", TanhOptions)
def tanh(progress: float, epochs: int, options: TanhOptions) -> float:
    """Return ½ (1 + tanh((e − 0.2 E) / width)) at epoch e of E, as in SinReQ's published fork of Distiller.

    There `width` is 20 epochs. In a short training a width of a tenth of its epochs lets λ rise to its full value.
    """
    width = min(20.0, max(1.0, epochs / 10)) if options.width is None else options.width
    return 0.5 * (1.0 + math.tanh((progress - 0.2) * epochs / width))
