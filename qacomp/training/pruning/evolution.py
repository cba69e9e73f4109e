"""Binary differential evolution over states (Salehinejad and Valaee, EPruning, equations 4 to 7)."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qacomp.training.pruning.units import States

Scores = NDArray[np.float64]
Evaluate = Callable[[States], Scores]  # (S, D) -> (S,), lower is better
Repair = Callable[[States, np.random.Generator], States]
_ROUNDING = 1e-6
"""Relative difference of two energies below which float32 outputs don't tell them apart."""


@dataclass(frozen=True)
class EvolutionOptions:
    """Parameters of the evolution. `population`: S; `mutation`: F; `crossover`: C_r; `active`: share of active genes.

    active: states are drawn as Bernoulli(active). rescore: parents are scored again together with their children;
    otherwise they keep the score of an earlier batch, as in the paper. restart: if all states are equal, `search` draws
    all but the best one again.
    """

    population: int = 8
    mutation: float = 0.9
    crossover: float = 0.9
    active: float = 0.5
    rescore: bool = False
    restart: bool = True


@dataclass(frozen=True)
class Population:
    """`states` (S, D), and their `scores` (S,), each on the batch that the state was scored on."""

    states: States
    scores: Scores

    @property
    def best(self) -> NDArray[np.bool_]:
        """Return the state with the lowest score: (D,)."""
        best: NDArray[np.bool_] = self.states[int(self.scores.argmin())]
        return best

    @property
    def delta(self) -> float:
        """Return Δs = E_best − mean E (eq. 7), at most 0; exactly 0 if the population has converged."""
        return 0.0 if self.converged else float(self.scores.min() - self.scores.mean())

    @property
    def converged(self) -> bool:
        """Return whether all scores are equal, up to rounding (early state convergence, Δs = 0).

        The greatest is compared with the least: the mean of equal numbers differs from them by rounding.
        """
        least, greatest = float(self.scores.min()), float(self.scores.max())
        return math.isfinite(greatest) and greatest - least <= _ROUNDING * max(abs(least), abs(greatest))


def random_states(options: EvolutionOptions, free: NDArray[np.bool_], rng: np.random.Generator) -> States:
    """Draw S states, each gene ~ Bernoulli(`active`): (S, D); genes that aren't `free` (D,) are True."""
    return (rng.random((options.population, len(free))) < options.active) | ~free


def offspring(states: States, options: EvolutionOptions, rng: np.random.Generator) -> States:
    """Return one child of each state by mutation (eq. 4) and crossover (eq. 5): (S, D)."""
    count, length = states.shape
    # three different members for each child: the first places of a random order
    first, second, third = np.argsort(rng.random((count, count)), axis=1)[:, :3].T  # (S,) each
    turned = (states[second] != states[third]) & (rng.random((count, length)) < options.mutation)
    mutated = states[first] ^ turned  # (4)
    crossed = rng.random((count, length)) <= options.crossover
    return np.where(crossed, mutated, states)  # (5)


def generation(
    population: Population, options: EvolutionOptions, evaluate: Evaluate, rng: np.random.Generator, repair: Repair
) -> Population:
    """Return the next population by mutation, crossover and selection (eq. 6).

    A child replaces its parent if its score is not higher. If every generation has another batch and parents keep their
    scores, a parent that met an easy batch is never replaced; with `options.rescore` parent and child are compared on
    the same batch.
    """
    children = repair(offspring(population.states, options, rng), rng)
    if options.rescore:
        before, scores = np.split(evaluate(np.concatenate([population.states, children])), 2)  # (S,) each
    else:
        before, scores = population.scores, evaluate(children)
    better = scores <= before
    return Population(np.where(better[:, None], children, population.states), np.where(better, scores, before))


def unconstrained(states: States, rng: np.random.Generator) -> States:
    """Return the states unchanged: the repair for a search without constraint."""
    return states


def search(
    evaluate: Evaluate,
    free: NDArray[np.bool_],
    options: EvolutionOptions,
    generations: int,
    rng: np.random.Generator,
    repair: Repair = unconstrained,
) -> Population:
    """Return the last population of a search with a fixed `evaluate`; its best state is the best one ever scored.

    Mutation (eq. 4) flips only genes in which two states differ, so a population of equal states can't change. With
    `options.restart` all states but the best are then drawn again; else the search ends (early convergence).
    """
    states = repair(random_states(options, free, rng), rng)
    population = Population(states, evaluate(states))
    for _ in range(generations):
        if population.converged:
            if not options.restart:
                break
            states = repair(random_states(options, free, rng), rng)
            states[0] = population.best
            population = Population(states, evaluate(states))
            continue
        population = generation(population, options, evaluate, rng, repair)
    return population
