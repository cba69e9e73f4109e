"""Second moments of few samples: shrunk as far as they are chance, so that compensation is better on other inputs."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from qacomp.calibration.halved_moment import HalvedMoment
from qacomp.rate.compensation import compensated, factorized, rounded

INPUTS, STEP = 48, 0.5
RNG = np.random.default_rng(5)
WEIGHTS = RNG.normal(size=(1, 200, INPUTS))
MIXED = RNG.normal(size=(INPUTS, 6)) @ RNG.normal(size=(6, INPUTS)) + 8 * np.eye(INPUTS)  # six directions, and noise


def taken(samples: NDArray[np.float64], together: int = 1) -> HalvedMoment:
    """The moment of samples (count, inputs), of which so many belong to one image each."""
    found = HalvedMoment()
    for number, part in enumerate(np.split(samples, len(samples) // together)):
        x = torch.from_numpy(part)
        found.add((x.T @ x)[None], len(x), number)
    return found


def mean(found: HalvedMoment) -> Tensor:
    result = found.mean()
    assert result is not None
    return result


def lost(moment: NDArray[np.float64], true: NDArray[np.float64]) -> float:
    """The error of outputs on inputs of the true moment, of weights that are compensated by another one."""
    errors = (WEIGHTS - STEP * compensated(WEIGHTS, factorized(moment), STEP))[0]
    return float(np.trace(errors @ true @ errors.T))


def test_of_many_samples_it_is_their_mean() -> None:
    x = RNG.normal(size=(40_000, INPUTS)) @ MIXED
    assert np.allclose(mean(taken(x, 100))[0].numpy(), x.T @ x / len(x), rtol=1e-9)


@pytest.mark.parametrize("count", [32, 64, 128])
def test_of_few_independent_inputs_compensation_is_no_worse_than_plain_rounding(count: int) -> None:
    x, true = RNG.normal(size=(count, INPUTS)), np.eye(INPUTS)
    errors = (WEIGHTS - STEP * rounded(WEIGHTS, STEP))[0]
    plain = float(np.trace(errors @ errors.T))
    assert lost((x.T @ x / count)[None], true) > 1.15 * plain
    assert lost(mean(taken(x)).numpy(), true) < 1.05 * plain


@pytest.mark.parametrize("count", [24, 32, 48])
def test_of_few_dependent_inputs_it_keeps_what_they_have_in_common(count: int) -> None:
    x, true = RNG.normal(size=(count, INPUTS)) @ MIXED, MIXED.T @ MIXED
    found = lost(mean(taken(x)).numpy(), true)
    diagonal = np.diag((x**2).mean(0))[None]
    assert found < 0.9 * lost((x.T @ x / count)[None], true)
    assert found < 0.5 * lost(diagonal, true)


def test_samples_of_one_image_count_together() -> None:
    """32 images of 50 windows that are nearly the same say no more than 32 samples."""
    each = np.repeat(RNG.normal(size=(32, INPUTS)), 50, axis=0) + 0.01 * RNG.normal(size=(1600, INPUTS))
    beside = mean(taken(each, 50))[0].numpy() - np.diag((each**2).mean(0))
    plain = each.T @ each / len(each)
    assert np.abs(beside).sum() < 0.3 * np.abs(plain - np.diag(np.diag(plain))).sum()


@pytest.mark.parametrize("count", [300, 17_000])
def test_a_large_moment_is_shrunk_where_its_samples_are_few(count: int) -> None:
    inputs = 1030
    x = torch.from_numpy(RNG.normal(size=(count, inputs)))
    found = HalvedMoment()
    for number, part in enumerate(x.chunk(4)):
        found.add((part.T @ part)[None], len(part), number)
    plain = x.T @ x / count
    share = float(mean(found)[0, 0, 1:].abs().sum() / plain[0, 1:].abs().sum())
    assert share < 0.2 if count < inputs else share == pytest.approx(1)


def test_each_group_keeps_its_diagonal() -> None:
    x = torch.from_numpy(RNG.normal(size=(3, 20, INPUTS)))
    found = HalvedMoment()
    for number in range(20):
        part = x[:, number : number + 1]
        found.add(part.transpose(1, 2) @ part, 1, number)
    assert found.count == 20
    wanted = (x**2).mean(1)
    assert torch.allclose(mean(found).diagonal(dim1=1, dim2=2), wanted)


def test_what_cannot_be_shrunk_is_the_plain_mean() -> None:
    assert HalvedMoment().mean() is None
    x = torch.from_numpy(RNG.normal(size=(10, INPUTS)))
    one = HalvedMoment()
    one.add((x.T @ x)[None], 10, 4)
    assert torch.equal(mean(one), (x.T @ x)[None] / 10)  # one image: nothing to compare with
    for value in (0.0, float("inf")):
        same = torch.full((1, 4, 4), value, dtype=torch.float64)
        held = HalvedMoment()
        held.add(same, 2, 0)
        held.add(same, 2, 1)
        assert torch.equal(mean(held), same / 2 if value == 0 else same)
