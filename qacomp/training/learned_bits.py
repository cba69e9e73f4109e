"""Learned bits in a training: their learning rate, their range in each step, and what was learned."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn
from torch.optim import Optimizer

from qacomp.training.descent import Descent
from qacomp.training.optimizers import OPTIMIZERS
from qacomp.training.penalty_rates import steps_of
from qacomp.training.quantizers import LearnedBits
from qacomp.training.regularizers import trained_weight
from qacomp.training.setup import TrainingSetup

_WAY = 12.0
"""Bits that the price alone would take off over the training, so that 8 bits could fall to 2 in the first half."""


def rate_of_bits(setup: TrainingSetup, price: float) -> float:
    """Return the learning rate of bits that cost `price` each.

    The price alone then takes off 12 bits over the training, whatever its length and --lr: what bits come to is decided
    by the price and the task, not by the number of steps.
    """
    c, steps = setup.config, steps_of(setup)
    damping = OPTIMIZERS.options(c.optimizer).damping
    rates = Descent.of(c.optimizer).rates(steps)
    travel = sum(rates(step) for step in range(steps))
    if damping is None:  # each step has about the size of the learning rate
        return _WAY / max(1.0, travel)
    return _WAY * damping / (max(1.0, travel) * price) if price > 0 else c.lr


def advance_bits(learned: Mapping[str, LearnedBits], optimizer: Optimizer, steps: int) -> None:
    """Call `advance` of all learned bits after each of the optimizer's `steps` steps."""
    if not learned:
        return

    def after(*_: Any) -> None:
        for bits in learned.values():
            bits.advance(1 / steps)

    optimizer.register_step_post_hook(after)


def tell_bits(model: nn.Module, learned: Mapping[str, LearnedBits], note: Callable[[str], None]) -> None:
    """Tell the bits that each layer has learned, and their mean over the weights."""
    if not learned:
        return
    found = {name: bits.whole_bits() for name, bits in learned.items()}
    sizes = {name: trained_weight(model, name).numel() for name in found}
    mean = sum(found[name] * size for name, size in sizes.items()) / sum(sizes.values())
    each = ", ".join(f"{name.removesuffix('.weight')} {count}" for name, count in found.items())
    note(f"learned bits: {each}; {mean:.2f} a weight on average")
