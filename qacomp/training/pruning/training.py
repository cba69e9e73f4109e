"""Pruning with training: under the evolving states of EPruning, or while magnitudes are pruned step by step."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from qacomp.training.batches import batch_count
from qacomp.training.fine_tune import Session
from qacomp.training.history import EpochRecord
from qacomp.training.loop import parameter_groups, train
from qacomp.training.objective import Objective
from qacomp.training.pruning.counting import ParameterCount
from qacomp.training.pruning.energy import EnergyObjective, StateSearch, keep_masked_values
from qacomp.training.pruning.evolution import EvolutionOptions, random_states, unconstrained
from qacomp.training.pruning.first_states import DRAWN, near_magnitude
from qacomp.training.pruning.gates import Gates
from qacomp.training.pruning.keep_rate import KeepRate
from qacomp.training.pruning.magnitude import (
    MagnitudeObjective,
    MaskSchedule,
    keep_pruned,
    mask_function,
    unit_magnitudes,
)
from qacomp.training.pruning.objectives import pruning_objective
from qacomp.training.pruning.units import States, Units, parameter_masks


@dataclass(frozen=True)
class Trained:
    """`masks`: by parameter name, False where it is to be zero. The network's values aren't zeroed yet where `search`
    is set: without its gates it is the full network (Table 1's F)."""

    masks: Mapping[str, Tensor]
    records: list[EpochRecord]
    search: StateSearch | None = None


def prune_by_energy(model: nn.Module, units: Units, session: Session) -> Trained:
    """EPruning: search and training for `prune_epochs`, the last of them with the frozen state."""
    c = session.config
    assert c.prune_epochs is not None and c.stagnation is not None
    options = EvolutionOptions(population=c.population, rescore=c.prune_parents == "rescore")
    count = ParameterCount(model, units)
    repair = unconstrained if c.prune_rate is None else KeepRate(count, 1 - c.prune_rate)
    rate = 0.5 if c.prune_rate is None else 1 - c.prune_rate
    scores = unit_magnitudes(model, units, "layer")

    def start(rng: np.random.Generator) -> States:
        if c.prune_start == "magnitude":
            return near_magnitude(count, scores, rate, DRAWN * c.population, rng)
        return repair(random_states(options, units.free, rng), rng)

    search = StateSearch(
        units,
        options,
        pruning_objective(c.prune_objective),
        repair,
        start,
        steps=batch_count(session.dataset.train, c.batch_size),
        stagnation=c.stagnation,
        seed=c.seed,
    )
    gates = Gates(model, units)
    try:
        records = _train(
            model,
            session,
            lambda plain: EnergyObjective(**vars(plain), gates=gates, search=search),
            lambda optimizer: keep_masked_values(model, search, optimizer),
        )
    finally:
        gates.remove()
    return Trained(parameter_masks(model, units, search.best), records, search)


def prune_by_magnitude(model: nn.Module, units: Units, session: Session) -> Trained:
    """Gradual magnitude pruning of single weights or of units, with retraining."""
    c = session.config
    assert c.prune_rate is not None
    schedule = MaskSchedule(mask_function(model, units, c.prune_unit, c.prune_scope), c.prune_rate)
    records = _train(
        model,
        session,
        lambda plain: MagnitudeObjective(**vars(plain), schedule_of_masks=schedule),
        lambda optimizer: keep_pruned(model, schedule, optimizer),
    )
    return Trained(schedule.masks, records)


def _train(
    model: nn.Module,
    session: Session,
    build: Callable[[Objective], Objective],
    watch: Callable[[Optimizer], None],
) -> list[EpochRecord]:
    """`build` makes the objective from the plain one, `watch` puts its hooks on the optimizer."""
    c = session.config
    assert c.prune_epochs is not None
    objective = build(session.objective({}))
    optimizer = torch.optim.SGD(parameter_groups(model, c.lr, c.weight_decay), lr=c.lr, momentum=c.momentum)
    watch(optimizer)
    session.zeros.hold(model, optimizer)
    return train(
        model,
        session.dataset,
        session.preprocessing,
        session.stage("prune", c.prune_epochs, keep_best=False),
        objective,
        optimizer,
        progress=session.progress,
        store=session.store,
    )
