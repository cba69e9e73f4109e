"""Fine-tune a network whose forward pass rounds its weights to grids, with dead zones that hold the bytes down."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn

from qacomp.training.dead_zones import Coder
from qacomp.training.descent import Descent
from qacomp.training.history import EpochRecord
from qacomp.training.loop import parameter_groups
from qacomp.training.optimizers import make_optimizer, weight_decay_of
from qacomp.training.parametrizations.rounding import round_weight, rounding_of, take_multiples
from qacomp.training.rate_objective import RateObjective
from qacomp.training.rate_state import TensorRate
from qacomp.training.setup import TrainingSetup


@dataclass(frozen=True)
class OnGrid:
    """A trained weight. multiples: in units of its step; dead: its dead zone in steps, broadcast to that shape."""

    multiples: NDArray[np.float64]
    dead: NDArray[np.float64]


def fine_tune_rate(
    model: nn.Module, steps: Mapping[str, float], goal: float, coder: Coder, setup: TrainingSetup
) -> tuple[dict[str, OnGrid], list[EpochRecord]]:
    """Train all weights, in place, with those that `steps` names rounded to multiples of their steps.

    goal: the bytes that the rounded weights should take in the end, as `coder` counts them. Returns the shadow weights
    by name, and a record for each epoch; the network keeps the rounded weights. Raises DivergedError.
    """
    c = setup.config
    assert c.epochs is not None
    for name, step in steps.items():
        round_weight(model, name, step)
    tensors = {name: TensorRate(rounding_of(model, name).dead).to(setup.device) for name in steps}
    objective = RateObjective.of(setup.objective({}), tensors, goal, coder)
    optimizer = make_optimizer(c.optimizer, parameter_groups(model, c.lr, weight_decay_of(c.optimizer)), c.lr)
    setup.zeros.keep_zero(model, optimizer)
    stage = setup.stage("fine-tune by rate", c.epochs, keep_best=False, descent=Descent.of(c.optimizer))
    records = setup.train(model, stage, objective, optimizer, watch=setup.watch)
    return {name: OnGrid(*take_multiples(model, name)) for name in steps}, records
