"""EPruning: a population of states evolves while the network trains under the best of them (algorithm 1).

Each mini-batch is one generation: the children are scored on it (their parents too, or these keep their scores as in
the paper), and the step is taken by the network that the best state leaves. Units that it switches off keep their
values and may come back, until the state is frozen: at the end of an epoch in which Δs is 0 (early state convergence),
or after `stagnation` epochs. What remains is fine-tuning.
(Algorithm 1 goes on while Δs ≠ 0 OR the threshold isn't reached, which would never end; the text says what is built.)
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer

from qacomp.training.objective import Objective
from qacomp.training.pruning.evolution import EvolutionOptions, Population, Repair, generation
from qacomp.training.pruning.gates import Gates
from qacomp.training.pruning.objectives import PruningObjective
from qacomp.training.pruning.scoring import score_population
from qacomp.training.pruning.units import States, Units, parameter_masks

_STREAM = 0x5EA7C4  # keeps the search's random numbers apart from the batches'


@dataclass(frozen=True)
class SearchEpoch:
    """Means over one epoch of the best and the mean score; Δs at its end; whether the state was frozen all along."""

    epoch: int
    best: float
    mean: float
    delta: float
    frozen: bool


@dataclass(frozen=True)
class SearchProblem:
    """What is searched: states of `units` with the lowest mean `objective`, under the constraint `repair`.

    `start` draws the first states, at least as many as the population holds: the best of them on the first batch enter.
    """

    units: Units
    objective: PruningObjective
    repair: Repair
    start: Callable[[np.random.Generator], States]


@dataclass(frozen=True)
class SearchSchedule:
    """How long is searched. `steps`: mini-batches of an epoch; `stagnation`: Δs_T in epochs; `seed`: of the draws."""

    steps: int
    stagnation: int
    seed: int


class StateSearch(nn.Module):
    """The population beside a training: `step` is called once a mini-batch. A module, so that a resumed run goes on."""

    def __init__(self, problem: SearchProblem, options: EvolutionOptions, schedule: SearchSchedule) -> None:
        super().__init__()
        self.problem, self.options, self.schedule = problem, options, schedule
        self.time = 0
        self.frozen = False
        self.population: Population | None = None
        self.history: list[SearchEpoch] = []
        self._sums = [0.0, 0.0]

    @property
    def best(self) -> NDArray[np.bool_]:
        """Return the state that the network trains under: (D,)."""
        return np.ones(self.problem.units.count, bool) if self.population is None else self.population.best

    def step(self, score: Callable[[States], NDArray[np.float64]]) -> NDArray[np.bool_]:
        """Go one generation on, unless the state is frozen; `score` judges (S, D) states on this mini-batch."""
        rng = np.random.default_rng([self.schedule.seed, _STREAM, self.time])
        if self.population is None:
            states = self.problem.start(rng)
            scores = score(states)
            first = np.argsort(scores, kind="stable")[: self.options.population]
            self.population = Population(states[first], scores[first])
        if not self.frozen:
            self.population = generation(self.population, self.options, score, rng, self.problem.repair)
        self.time += 1
        self._sums[0] += float(self.population.scores.min())
        self._sums[1] += float(self.population.scores.mean())
        if self.time % self.schedule.steps == 0:
            self._end_epoch()
        return self.best

    def _end_epoch(self) -> None:
        assert self.population is not None
        epoch = self.time // self.schedule.steps
        best, mean = (value / self.schedule.steps for value in self._sums)
        self.history.append(SearchEpoch(epoch, best, mean, self.population.delta, self.frozen))
        self._sums = [0.0, 0.0]
        if self.population.delta == 0 or len(self.history) >= self.schedule.stagnation:
            self.frozen = True

    def get_extra_state(self) -> dict[str, Any]:
        """Return what a resumed training needs, as plain values and tensors."""
        p = self.population
        return {
            "time": self.time,
            "frozen": self.frozen,
            "states": None if p is None else torch.from_numpy(p.states.copy()),
            "scores": None if p is None else torch.from_numpy(p.scores.copy()),
            "history": [asdict(epoch) for epoch in self.history],
        }

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Go on where `get_extra_state` was taken (at the end of an epoch)."""
        self.time, self.frozen = state["time"], state["frozen"]
        self.history = [SearchEpoch(**epoch) for epoch in state["history"]]
        self.population = (
            None if state["states"] is None else Population(state["states"].numpy(), state["scores"].numpy())
        )


@dataclass(frozen=True)
class EnergyObjective(Objective):
    """The task's loss of the network that the best state leaves, after one generation on the same mini-batch."""

    gates: Gates | None = None
    search: StateSearch | None = None

    def task_loss(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        """Score the states, select, switch off what the best one does, and return the loss: scalar."""
        gates, search = self.gates, self.search
        assert gates is not None and search is not None

        def score(states: States) -> NDArray[np.float64]:
            scores = score_population(model, gates, states, x, y, search.problem.objective)
            return np.where(np.isfinite(scores), scores, math.inf)

        gates.set_state(search.step(score))
        return super().task_loss(model, x, y)

    def modules(self) -> nn.ModuleDict:
        """Return the penalties and the search."""
        modules = super().modules()
        modules["search"] = self.search  # type: ignore[assignment]
        return modules


def keep_masked_values(model: nn.Module, search: StateSearch, optimizer: Optimizer) -> None:
    """Let the optimizer's steps leave the values of switched-off units alone (momentum and decay would move them)."""
    saved: dict[str, tuple[Tensor, Tensor]] = {}

    def before(*_: Any) -> None:
        saved.clear()
        for name, mask in parameter_masks(model, search.problem.units, search.best).items():
            saved[name] = (mask, model.get_parameter(name).detach().clone())

    def after(*_: Any) -> None:
        with torch.no_grad():
            for name, (mask, value) in saved.items():
                parameter = model.get_parameter(name)
                parameter.copy_(torch.where(mask, parameter, value))

    optimizer.register_step_pre_hook(before)
    optimizer.register_step_post_hook(after)
