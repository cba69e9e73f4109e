"""Set λ of every penalty, and choose the learning rate of its representatives; say where either is far too large."""

from collections.abc import Mapping

from torch import nn

from qacomp.errors import ConfigError
from qacomp.sharing.selection import Selection, value_for
from qacomp.training.descent import Descent
from qacomp.training.optimizers import OPTIMIZERS
from qacomp.training.regularizers import Regularizer
from qacomp.training.setup import TrainingSetup
from qacomp.training.strength import Balance, balance

_LEAP = 1.0
"""Steps above the mean distance of a weight from its representative jump over it, and the next step back again."""


def set_strengths(
    model: nn.Module, penalties: Mapping[str, Regularizer], selection: Selection, setup: TrainingSetup
) -> dict[str, float]:
    """Set λ of every penalty; return the learning rate of each penalty's parameters, by weight name, above 0.

    A note says where --strength or --lr-levels let weights or shared values leap over their distances in one step.
    Raises ConfigError if --strength is missing and λ can't be balanced, since the size of the optimizer's steps doesn't
    depend on the size of gradients.
    """
    c = setup.config
    names = [layer.names for layer in selection.layers if layer.name in penalties]
    own = value_for(names, c.strength_layers, "--strength") if penalties else {}
    damping = OPTIMIZERS.options(c.optimizer).damping
    if damping is None and c.reg.chosen and c.strength is None:
        raise ConfigError(
            f"--optimizer {c.optimizer}: the size of its steps doesn't depend on the size of gradients, so λ can't "
            "be balanced; give --strength, or --optimizer sgd"
        )
    balanced = balance(model, penalties, c.pull, travel(setup), setup.zeros.masks)
    for key, penalty in penalties.items():
        strength = balanced[key].strength if c.strength is None else c.strength
        penalty.set_strength(own.get(key, strength) if c.reg.chosen else 0.0)
    if damping is None:
        return dict.fromkeys(penalties, c.lr if c.lr_levels is None else c.lr_levels)
    rates = {key: balanced[key].lr_levels(p.strength) or c.lr for key, p in penalties.items()}  # λ = 0: the task's
    if c.lr_levels is not None:
        rates = dict.fromkeys(penalties, c.lr_levels)
        _tell_of_levels(penalties, balanced, setup)
    _tell_of_weights(penalties, balanced, setup, damping)
    return rates


def _tell_of_levels(
    penalties: Mapping[str, Regularizer], balanced: Mapping[str, Balance], setup: TrainingSetup
) -> None:
    rate = setup.config.lr_levels
    assert rate is not None
    learned = {key: p.strength for key, p in penalties.items() if next(p.parameters(), None) is not None}
    leaps = {key: balanced[key].leap_of_levels(strength, rate) for key, strength in learned.items()}
    worst = max(leaps, key=leaps.__getitem__, default=None)
    if worst is not None and leaps[worst] > _LEAP:
        fitting = balanced[worst].lr_levels(learned[worst])
        setup.note(
            f"--lr-levels {rate:g}: the first step can move shared values of {worst} by {leaps[worst]:,.0f} times the "
            f"mean distance of a weight from its shared value, so they may run off; {fitting:.2g} is balanced there"
        )


def _tell_of_weights(
    penalties: Mapping[str, Regularizer], balanced: Mapping[str, Balance], setup: TrainingSetup, damping: float
) -> None:
    if setup.config.strength is None and not setup.config.strength_layers:
        return  # nobody chose a strength
    lr = setup.config.lr / damping
    leaps = {key: balanced[key].leap_of_weights(p.strength, lr) for key, p in penalties.items()}
    worst = max(leaps, key=leaps.__getitem__, default=None)
    if worst is not None and leaps[worst] > _LEAP:
        setup.note(
            f"--strength {penalties[worst].strength:g}: each step can move weights of {worst} by {leaps[worst]:,.0f} "
            f"times their mean distance from a shared value; {balanced[worst].strength:.2g} is balanced there"
        )


def steps_of(setup: TrainingSetup) -> int:
    """Return the number of optimizer steps of the fine-tuning."""
    c = setup.config
    return (c.epochs or 0) * setup.examples.train.steps(c.batch_size)


def travel(setup: TrainingSetup) -> float:
    """Return Σ_t lr_t·r(t)/damping over all steps of fine-tuning; with momentum the damping is 1 − momentum.

    Where the size of the optimizer's steps doesn't depend on the size of gradients, the damping counts as 1.
    """
    c, steps = setup.config, steps_of(setup)
    damping = OPTIMIZERS.options(c.optimizer).damping or 1.0
    rates, objective = Descent.of(c.optimizer).rates(steps), setup.objective({})
    total = sum(rates(t) * objective.schedule(t / steps) for t in range(steps))
    return c.lr * total / damping
