"""How an optimizer descends: the learning rate of each step, relative to --lr, and the largest norm of gradients."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from qacomp.options.method import MethodChoice
from qacomp.training.optimizers import OPTIMIZERS

_DROPS = (0.5, 0.75)
"""Fractions of the training after which the rate of `step` falls to a tenth (He et al. 2016, ResNet on CIFAR-10)."""
_LAST = 0.01
"""The rate of `exponential` at the end of the training."""


def _cosine(progress: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * progress))


def _step(progress: float) -> float:
    return float(0.1 ** sum(progress >= drop for drop in _DROPS))


_AFTER_WARMUP: dict[str, Callable[[float], float]] = {
    "cosine": _cosine,
    "step": _step,
    "exponential": lambda progress: _LAST**progress,
    "constant": lambda progress: 1.0,
}


@dataclass(frozen=True)
class Rates:
    """The learning rate of each step, relative to the first one after the warm-up. total: steps of the training.

    The rate rises over the first 5 % of steps; in a short training over the first 50 steps, or over the first quarter
    if that is less.
    """

    total: int
    schedule: str = "cosine"

    def __call__(self, step: int) -> float:
        """Return the factor of step 0, 1, ..., total − 1."""
        warmup = max(1, self.total // 20, min(50, self.total // 4))
        progress = min(1.0, max(0, step - warmup) / max(1, self.total - warmup))
        return min(1.0, (step + 1) / warmup) * _AFTER_WARMUP[self.schedule](progress)


@dataclass(frozen=True)
class Descent:
    """A schedule of learning rates, and the largest norm of all gradients together; None: any norm."""

    schedule: str = "cosine"
    clip: float | None = None

    @classmethod
    def of(cls, optimizer: MethodChoice) -> "Descent":
        """Return the descent that the hyper-parameters of --optimizer ask for. ConfigError for an invalid choice."""
        options = OPTIMIZERS.options(optimizer)
        return cls(options.schedule, options.clip)

    def rates(self, total: int) -> Rates:
        """Return the relative learning rates of a training of `total` steps."""
        return Rates(total, self.schedule)

    def clipped(self, parameters: Iterable[Tensor]) -> None:
        """Scale the gradients down, in place, where their norm is above `clip`."""
        if self.clip is not None:
            torch.nn.utils.clip_grad_norm_(parameters, self.clip)


COSINE = Descent()
