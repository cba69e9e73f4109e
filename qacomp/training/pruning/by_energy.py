"""EPruning (Salehinejad and Valaee): states, which switch filters on or off, evolve while the best one is trained."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from torch import nn

from qacomp.options.declaration import FRACTION, POSITIVE, Bounds, Need, Option, option
from qacomp.training.pruning.counting import ParameterCount
from qacomp.training.pruning.energy import (
    EnergyObjective,
    SearchProblem,
    SearchSchedule,
    StateSearch,
    keep_masked_values,
)
from qacomp.training.pruning.evolution import EvolutionOptions, random_states, unconstrained
from qacomp.training.pruning.gates import Gates
from qacomp.training.pruning.keep_rate import DRAWN, KeepRate, near_magnitude
from qacomp.training.pruning.magnitude import unit_magnitudes
from qacomp.training.pruning.methods import Pruner, PrunerOptions, PruningMasks, register_pruner, train_pruned
from qacomp.training.pruning.objectives import OBJECTIVES, TASK, pruning_objective
from qacomp.training.pruning.units import States, Units, parameter_masks
from qacomp.training.setup import TrainingSetup


@dataclass(frozen=True)
class EnergyOptions(PrunerOptions):
    """Hyper-parameters of energy."""

    objective: str = option(
        "energy",
        Option(
            "Loss that states are scored by; loss: that of the training, for any outputs.",
            words=tuple(sorted([*OBJECTIVES, TASK])),
            check=pruning_objective,
        ),
    )
    start: str = option(
        "magnitude",
        Option(
            "First states: near the one of magnitude pruning, or random as in the paper.",
            choices=("magnitude", "random"),
        ),
    )
    parents: str = option(
        "rescore",
        Option(
            "Score parents again on every batch, or keep their scores as in the paper.", choices=("rescore", "keep")
        ),
    )
    active: float = option(
        0.5,
        Option(
            "P: the chance that a unit of a random first state is on.",
            bounds=Bounds(0, 1, open_low=True),
            needs=(Need(lambda o: o.start == "random", "without start=random"),),
        ),
    )
    mutation: float = option(0.9, Option("F: the chance that a mutation turns a unit.", bounds=FRACTION))
    crossover: float = option(0.9, Option("C_r: the chance that a unit comes from the mutation.", bounds=FRACTION))
    population: int = option(8, Option("Number of states; a child is made from three of them.", bounds=Bounds(3)))
    stagnation: int | None = option(
        None, Option("Epochs after which the best state is frozen.", bounds=POSITIVE, shown="a third of all")
    )


@register_pruner("energy", EnergyOptions)
class PruningByEnergy(Pruner):
    """Searches and trains for its `epochs`; in the last epochs the best state is frozen."""

    options: EnergyOptions
    from_scratch: ClassVar[Mapping[str, str]] = {"start": "random", "parents": "keep"}  # magnitudes say nothing yet

    @property
    def unit(self) -> str:
        """Return "filter": a state switches whole filters on or off."""
        return "filter"

    def train(self, model: nn.Module, units: Units, setup: TrainingSetup) -> PruningMasks:
        """Train `model` under the best state while the states evolve; return that state's masks, and the search."""
        c, own = setup.config, self.options
        assert own.epochs is not None
        options = EvolutionOptions(
            own.population, own.mutation, own.crossover, own.active, rescore=own.parents == "rescore"
        )
        count = ParameterCount(model, units)
        repair = unconstrained if own.rate is None else KeepRate(count, 1 - own.rate)
        rate = 0.5 if own.rate is None else 1 - own.rate
        scores = unit_magnitudes(model, units, "layer")

        def start(rng: np.random.Generator) -> States:
            if own.start == "magnitude":
                return near_magnitude(count, scores, rate, DRAWN * own.population, rng)
            return repair(random_states(options, units.free, rng), rng)

        problem = SearchProblem(units, pruning_objective(own.objective), repair, start)
        steps = setup.examples.train.steps(c.batch_size)
        schedule = SearchSchedule(steps, own.stagnation or max(1, own.epochs // 3), c.seed)
        search = StateSearch(problem, options, schedule)
        gates = Gates(model, units)
        try:
            records = train_pruned(
                model,
                setup,
                own.epochs,
                lambda plain: EnergyObjective(**vars(plain), gates=gates, search=search, ranks=setup.ranks),
                lambda optimizer: keep_masked_values(model, search, optimizer),
            )
        finally:
            gates.remove()
        return PruningMasks(parameter_masks(model, units, search.best), records, search)
