"""EPruning: a population of states evolves while the network trains under the best of them (algorithm 1).

Each mini-batch is one generation. The children are scored on it (their parents too, or these keep their scores as in
the paper), and then the network under the best state takes a training step. Units that the state switches off keep
their values and may come back, until the state is frozen: at the end of an epoch in which Δs is 0 (early state
convergence), or after `stagnation` epochs. The remaining epochs fine-tune the network under the frozen state.
(Printed algorithm 1 continues while Δs ≠ 0 OR the threshold isn't reached, which would never end; this follows the
paper's text.)
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

from qacomp.batches.examples import Batch
from qacomp.batches.feed import Feed, count_of, told
from qacomp.errors import ConfigError
from qacomp.ranks.ranks import ALONE, Ranks
from qacomp.training.objective import Objective
from qacomp.training.pruning.evolution import EvolutionOptions, Population, Repair, generation
from qacomp.training.pruning.gates import Gates
from qacomp.training.pruning.objectives import PruningObjective
from qacomp.training.pruning.scoring import score_by_loss, score_population
from qacomp.training.pruning.units import States, Units, parameter_masks

_STREAM = 0x5EA7C4  # part of the search's seeds, so that they differ from those of the batches


@dataclass(frozen=True)
class SearchEpoch:
    """One epoch of the search. `best`, `mean`: the best and the mean score of the population, averaged over the epoch.

    delta: Δs at the end of the epoch; frozen: whether the state was frozen in the whole epoch. There is no population
    then: `best` is the score of the frozen state on the batches of this epoch, `mean` and `delta` are None.
    """

    epoch: int
    best: float
    mean: float | None
    delta: float | None
    frozen: bool


@dataclass(frozen=True)
class SearchProblem:
    """The search for states of `units` with the lowest mean `objective`; `repair` makes states satisfy a constraint.

    objective: None for the loss of the training.
    start: draws the first states, at least as many as the population holds; the best of them on the first batch are
    taken.
    """

    units: Units
    objective: PruningObjective | None
    repair: Repair
    start: Callable[[np.random.Generator], States]


@dataclass(frozen=True)
class SearchSchedule:
    """The length of the search. `steps`: mini-batches in an epoch; `stagnation`: Δs_T in epochs; `seed`: of draws."""

    steps: int
    stagnation: int
    seed: int


class StateSearch(nn.Module):
    """The search: `step` is called for each mini-batch of a training. A module, so that its state can be saved."""

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
        """Return the state under which the network is trained: (D,) bool, True for active units."""
        return np.ones(self.problem.units.count, bool) if self.population is None else self.population.best

    def step(self, score: Callable[[States], NDArray[np.float64]]) -> NDArray[np.bool_]:
        """Compute the next generation, or score the frozen state; return the best state (D,).

        score: gives the scores (S,) of states (S, D) on this mini-batch.
        """
        rng = np.random.default_rng([self.schedule.seed, _STREAM, self.time])
        if self.population is None:
            states = self.problem.start(rng)
            scores = score(states)
            first = np.argsort(scores, kind="stable")[: self.options.population]
            self.population = Population(states[first], scores[first])
        if self.frozen:
            scores = score(self.best[None])  # (1,)
        else:
            self.population = generation(self.population, self.options, score, rng, self.problem.repair)
            scores = self.population.scores  # (S,)
        self.time += 1
        self._sums[0] += float(scores.min())
        self._sums[1] += float(scores.mean())
        if self.time % self.schedule.steps == 0:
            self._end_epoch()
        return self.best

    def _end_epoch(self) -> None:
        assert self.population is not None
        epoch = self.time // self.schedule.steps
        best, mean = (value / self.schedule.steps for value in self._sums)
        if self.frozen:
            self.history.append(SearchEpoch(epoch, best, None, None, True))
        else:
            self.history.append(SearchEpoch(epoch, best, mean, self.population.delta, False))
        self._sums = [0.0, 0.0]
        if self.population.converged or len(self.history) >= self.schedule.stagnation:
            self.frozen = True

    def get_extra_state(self) -> dict[str, Any]:
        """Return the state of the search for resuming, as plain values and tensors."""
        p = self.population
        return {
            "time": self.time,
            "frozen": self.frozen,
            "states": None if p is None else torch.from_numpy(p.states.copy()),
            "scores": None if p is None else torch.from_numpy(p.scores.copy()),
            "history": [asdict(epoch) for epoch in self.history],
        }

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore the state that `get_extra_state` returned at the end of an epoch."""
        self.time, self.frozen = state["time"], state["frozen"]
        self.history = [SearchEpoch(**epoch) for epoch in state["history"]]
        self.population = (
            None if state["states"] is None else Population(state["states"].numpy(), state["scores"].numpy())
        )


@dataclass(frozen=True)
class EnergyObjective(Objective):
    """The task loss of the network under the best state, after one generation on the same mini-batch.

    ranks: the processes that share the mini-batch.
    """

    gates: Gates | None = None
    search: StateSearch | None = None
    ranks: Ranks = ALONE

    def task_loss(self, model: nn.Module, x: Feed, y: Any) -> Tensor:
        """Compute one generation, switch the units off that the best state does, and return the task loss: scalar.

        Raises ConfigError for data without class labels, unless the loss of the training scores the states.
        """
        gates, search = self.gates, self.search
        assert gates is not None and search is not None
        objective = search.problem.objective
        if objective is not None and not (isinstance(x, Tensor) and _are_labels(y)):
            raise ConfigError(
                f"--prune energy: scores states by class scores (N, classes), but the inputs are {told(x)} and the "
                f"targets {told(y)}; give --prune energy:objective=loss, or magnitude"
            )

        def score(states: States) -> NDArray[np.float64]:
            if objective is None:
                scores = score_by_loss(model, gates, states, Batch(x, y), self.lesson.criterion)
            else:
                assert isinstance(x, Tensor)
                scores = score_population(model, gates, states, x, y, objective)
            scores = self.ranks.mean(scores, count_of(x))
            return np.where(np.isfinite(scores), scores, math.inf)

        gates.set_state(search.step(score))
        return super().task_loss(model, x, y)

    def modules(self) -> nn.ModuleDict:
        """Return the regularizers and the search, whose state is saved for resuming."""
        modules = super().modules()
        modules["search"] = self.search  # type: ignore[assignment]
        return modules


def _are_labels(y: Any) -> bool:
    return isinstance(y, Tensor) and y.ndim == 1 and not y.is_floating_point()


def keep_masked_values(model: nn.Module, search: StateSearch, optimizer: Optimizer) -> None:
    """Keep the values of switched-off units unchanged in each step, since momentum and weight decay would move them."""
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
