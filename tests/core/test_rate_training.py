"""Training with dead zones: the bytes end where they shall, and code lengths are those of an entropy coder."""

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from digits_network import PREPROCESS, digits_network
from numpy.typing import NDArray
from torch import nn

from qacomp.api import compress
from qacomp.training.objective import Objective
from qacomp.training.parametrizations.rounding import (
    on_grid,
    round_weight,
    rounding_of,
    settle,
    shadow_weight,
    take_multiples,
)
from qacomp.training.rate_model import code_length
from qacomp.training.rate_objective import RateObjective
from qacomp.training.rate_state import RateState, TensorRate


def test_the_forward_pass_rounds_and_the_gradient_passes() -> None:
    layer = nn.Linear(3, 2, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[0.1, -0.3, 0.76], [0.2, 0.0, -1.1]]))
    round_weight(layer, "weight", 0.5)
    assert torch.equal(layer.weight, torch.tensor([[0.0, -0.5, 1.0], [0.0, 0.0, -1.0]]))
    layer(torch.ones(1, 3)).sum().backward()
    grad = shadow_weight(layer, "weight").grad
    assert grad is not None and torch.equal(grad, torch.ones(2, 3))
    assert np.allclose(take_multiples(layer, "weight")[0], [[0.2, -0.6, 1.52], [0.4, 0.0, -2.2]])
    assert torch.equal(layer.weight, torch.tensor([[0.0, -0.5, 1.0], [0.0, 0.0, -1.0]]))


def test_a_dead_zone_is_zero_and_still_learns() -> None:
    layer = nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[0.9, -1.7], [0.9, 0.4]]))
    round_weight(layer, "weight", 1.0)
    rounding_of(layer, "weight").dead.copy_(torch.tensor([[1.2, 1.2], [0.5, 0.5]]))
    assert torch.equal(layer.weight, torch.tensor([[0.0, -2.0], [1.0, 0.0]]))
    layer(torch.ones(1, 2)).sum().backward()
    grad = shadow_weight(layer, "weight").grad
    assert grad is not None and torch.equal(grad, torch.ones(2, 2))


def test_settled_zeros_stay_zero() -> None:
    layer = nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[0.9, -1.7]]))
    round_weight(layer, "weight", 1.0)
    rounding_of(layer, "weight").dead.fill_(1.2)
    settle(layer, "weight")
    with torch.no_grad():
        shadow_weight(layer, "weight").copy_(torch.tensor([[5.0, -1.3]]))
    assert torch.equal(layer.weight, torch.tensor([[0.0, -1.0]]))
    multiples, dead = take_multiples(layer, "weight")
    assert np.allclose(multiples, [[0.0, -1.3]]) and np.allclose(dead, 1.2)


@pytest.mark.parametrize("shape", [(20_000,), (100, 200), (20, 40, 5, 5)])
def test_bits_of_integers_without_structure_are_their_entropy(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    integers = torch.round(torch.distributions.Laplace(0.0, 0.7).sample(shape))
    _, counts = np.unique(integers.numpy(), return_counts=True)
    share = counts / counts.sum()
    assert math.isclose(code_length(integers).bits, -(counts * np.log2(share)).sum(), rel_tol=0.02)


def test_bits_follow_filters_and_channels() -> None:
    """Non-zeros in a tenth of the filters and channels take fewer bits than as many anywhere, and cost less each."""
    torch.manual_seed(0)
    together, apart = torch.zeros(200, 300), torch.zeros(200, 300)
    together[:20, :30] = (torch.rand(20, 30) < 0.5).float()
    apart.view(-1)[torch.randperm(apart.numel())[: int(together.sum())]] = 1.0
    assert code_length(together).bits < 0.4 * code_length(apart).bits
    costs = code_length(together).costs
    assert costs.shape == (200, 300) and float(costs[:20, :30].max()) < 5 < 8 < float(costs[20:, 30:].min())


def test_sensitivities_are_means_of_filters_and_channels() -> None:
    torch.manual_seed(0)
    sizes = torch.tensor([1.0, 3.0])[:, None] * torch.tensor([2.0, 1.0, 0.5])[None]
    rate = TensorRate(torch.ones(2, 3, 1, 1))
    assert rate.sensitivity() is None
    for _ in range(20):
        rate.see(sizes[..., None, None] * torch.randn(2, 3, 50, 50))
    found = rate.sensitivity()
    assert found is not None and torch.allclose(found.float(), sizes**2, rtol=0.1)


def test_bytes_fall_to_the_goal_and_stay() -> None:
    state = RateState()
    wanted = [state.wanted(1000.0, 250.0, progress) for progress in (0.0, 0.1, 0.2, 0.4, 0.6, 0.9)]
    assert wanted[0] == 1000.0 and wanted == sorted(wanted, reverse=True) and wanted[-2:] == [250.0, 250.0]
    assert RateState().wanted(100.0, 250.0, 0.0) == 250.0


@pytest.mark.parametrize("goal", [0.7, 0.25, 0.05])
def test_dead_zones_meet_the_bytes_that_are_wanted(goal: float) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(300, 200), nn.ReLU(), nn.Linear(200, 10))
    names = ["0.weight", "2.weight", "0.bias"]
    for name in names:
        round_weight(model, name, 0.02)
    tensors = {name: TensorRate(rounding_of(model, name).dead) for name in names}

    def entropy(integers: Mapping[str, NDArray[np.int64]]) -> int:
        return int(sum(code_length(torch.from_numpy(q).float()).bits for q in integers.values()) / 8)

    def now() -> int:
        rounded = {n: on_grid(shadow_weight(model, n) / 0.02, rounding_of(model, n).dead) for n in names}
        return entropy({n: q.detach().numpy().astype(np.int64) for n, q in rounded.items()})

    plain = now()
    objective = RateObjective.of(Objective(), tensors, goal * plain, entropy)
    for progress in np.linspace(0, 0.69, 40).tolist():
        model(torch.randn(64, 300)).square().sum().backward()
        objective.add_penalty_gradients(model, progress)
    assert math.isclose(now(), goal * plain, rel_tol=0.02)
    with torch.no_grad():
        for name in names:
            shadow_weight(model, name).mul_(1.3)  # weights leave their dead zones, as late in a training
    grown = now()
    for progress in np.linspace(0.71, 0.99, 40).tolist():
        model(torch.randn(64, 300)).square().sum().backward()
        objective.add_penalty_gradients(model, progress)
    assert grown > 1.1 * goal * plain and math.isclose(now(), goal * plain, rel_tol=0.02)


def test_a_network_trained_to_a_size_keeps_what_it_can(tmp_path: Path) -> None:
    """A classifier of digits at a 23rd of its size, graph and metadata included, loses less than 3 points."""
    done = compress(
        digits_network(),
        "digits",
        output=tmp_path / "trained.qac",
        preprocess=PREPROCESS,
        sharing="rate:tuned=false",
        target_size="2300",
        epochs=14,
        tune_epochs=0,
        distill="kd",
    )
    assert 0.99 * 2300 <= done.container_bytes <= 2300
    assert done.accuracy.original is not None and done.accuracy.decoded is not None
    assert done.accuracy.decoded > done.accuracy.original - 3
    assert done.bits_per_weight < 1.5


def test_a_tensor_without_gradients_is_rounded_plainly() -> None:
    torch.manual_seed(0)
    model = nn.ModuleDict({"used": nn.Linear(60, 40), "unused": nn.Linear(60, 40)})
    names = ["used.weight", "unused.weight"]
    for name in names:
        round_weight(model, name, 0.02)
    tensors = {name: TensorRate(rounding_of(model, name).dead) for name in names}
    objective = RateObjective.of(Objective(), tensors, 1500.0, lambda integers: 3000)
    for progress in np.linspace(0, 0.69, 30).tolist():
        model["used"](torch.randn(16, 60)).square().sum().backward()
        objective.add_penalty_gradients(model, progress)
    assert float(rounding_of(model, "used.weight").dead.min()) > 0.5
    assert torch.equal(rounding_of(model, "unused.weight").dead, torch.full((40, 60), 0.5))
