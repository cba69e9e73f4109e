"""EPruning's first states near magnitude pruning's own, and what the search makes of them."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from qacomp.batches.images import ImageExamples
from qacomp.datasets import Dataset
from qacomp.models import create_model, model_info
from qacomp.progress import SilentProgress
from qacomp.training.loop import Stage, TrainingHooks, parameter_groups, train
from qacomp.training.objective import Objective
from qacomp.training.pruning.channels import trace_channels
from qacomp.training.pruning.counting import ParameterCount
from qacomp.training.pruning.energy import SearchProblem, SearchSchedule, StateSearch
from qacomp.training.pruning.evolution import EvolutionOptions
from qacomp.training.pruning.gates import Gates
from qacomp.training.pruning.keep_rate import KeepRate, near_magnitude, uniform_share
from qacomp.training.pruning.magnitude import unit_magnitudes
from qacomp.training.pruning.objectives import energy_loss
from qacomp.training.pruning.scoring import score_population
from qacomp.training.pruning.units import Units, find_units

INFO = model_info("lenet5")


@pytest.fixture(scope="module")
def trained(digits: Dataset) -> tuple[nn.Module, Units]:
    torch.manual_seed(0)
    model = create_model("lenet5")
    optimizer = torch.optim.SGD(parameter_groups(model, 0.02, 1e-4), momentum=0.9)
    stage = Stage("train", 2, 64, 0, "none", torch.device("cpu"))
    small = replace(digits, val=digits.val.take(np.arange(50)))
    train(
        model, ImageExamples(small, INFO.preprocessing), stage, Objective(), optimizer, TrainingHooks(SilentProgress())
    )
    return model, find_units(trace_channels(model, INFO.input_shape))


def test_first_states_divide_the_parameters_differently() -> None:
    model = create_model("resnet20")
    units = find_units(trace_channels(model, (3, 32, 32)))
    count, scores = ParameterCount(model, units), unit_magnitudes(model, units, "layer")
    states = near_magnitude(count, scores, 0.5, 24, np.random.default_rng(0))
    assert np.array_equal(states[0], uniform_share(count, scores, 0.5))
    kept = count(states) / count.total
    assert (kept <= 0.5).all() and (kept > 0.47).all()
    shares = np.stack([states[:, g.genes].mean(axis=1) for g in units.groups], axis=1)  # (24, layers)
    assert (shares > 0).all() and np.ptp(shares[0]) < 0.05
    deep = shares[:, -7:].mean(axis=1) - shares[:, :7].mean(axis=1)
    assert deep.max() > 0.2 and deep.min() < -0.2  # some keep the first layers, some the last
    again = near_magnitude(count, scores, 0.5, 24, np.random.default_rng(0))
    assert np.array_equal(states, again)


def test_the_search_finds_a_state_of_less_energy_than_magnitudes(
    trained: tuple[nn.Module, Units], digits: Dataset
) -> None:
    """On images that it wasn't scored on, without any training in between."""
    model, units = trained
    count, scores = ParameterCount(model, units), unit_magnitudes(model, units, "layer")
    keep = 0.15
    search = StateSearch(
        SearchProblem(units, energy_loss, KeepRate(count, keep), partial(near_magnitude, count, scores, keep, 64)),
        EvolutionOptions(rescore=True),
        SearchSchedule(steps=100, stagnation=1, seed=0),
    )
    gates = Gates(model, units)
    images = torch.from_numpy(INFO.preprocessing.apply(digits.train.x))  # (N, 1, 28, 28)
    labels = torch.from_numpy(digits.train.y)
    half = len(labels) // 2
    rng = np.random.default_rng(0)
    for _ in range(15):
        batch = rng.choice(half, 64, replace=False)
        best = search.step(lambda s, b=batch: score_population(model, gates, s, images[b], labels[b], energy_loss))  # type: ignore[misc]
    states = np.stack([best, uniform_share(count, scores, keep)])
    found, magnitude = score_population(model, gates, states, images[half:], labels[half:], energy_loss)
    gates.remove()
    assert found < magnitude - 0.1, (found, magnitude)
