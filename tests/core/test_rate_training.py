"""Training with a price on bits: the bytes end where they shall, code lengths are those of an entropy coder."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from qacomp.api import compress
from qacomp.datasets import load_dataset
from qacomp.models import model_info
from qacomp.training.parametrizations.rounding import round_weight, shadow_weight, take_multiples
from qacomp.training.rate_objective import CodeLength, RateState


def test_the_forward_pass_rounds_and_the_gradient_passes() -> None:
    layer = nn.Linear(3, 2, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[0.1, -0.3, 0.76], [0.2, 0.0, -1.1]]))
    round_weight(layer, "weight", 0.5)
    assert torch.equal(layer.weight, torch.tensor([[0.0, -0.5, 1.0], [0.0, 0.0, -1.0]]))
    layer(torch.ones(1, 3)).sum().backward()
    grad = shadow_weight(layer, "weight").grad
    assert grad is not None and torch.equal(grad, torch.ones(2, 3))
    assert np.allclose(take_multiples(layer, "weight"), [[0.2, -0.6, 1.52], [0.4, 0.0, -2.2]])
    assert torch.equal(layer.weight, torch.tensor([[0.0, -0.5, 1.0], [0.0, 0.0, -1.0]]))


@pytest.mark.parametrize("scale", [0.3, 1.0, 4.0])
def test_bits_are_those_of_the_integers_entropy(scale: float) -> None:
    torch.manual_seed(0)
    weight = scale * torch.distributions.Laplace(0.0, 1.0).sample((20_000,))
    length = CodeLength(0.7)
    length.update(weight)
    integers = torch.round(weight / 0.7).numpy()
    _, counts = np.unique(integers, return_counts=True)
    share = counts / counts.sum()
    assert math.isclose(length.bits, -(counts * np.log2(share)).sum(), rel_tol=0.01)
    slope = math.log2(math.exp(0.7 / scale))  # of a Laplace density, in bits a step
    assert math.isclose(float(length.tail), max(slope, 0.3), rel_tol=0.15)


def test_the_gradient_of_bits_points_to_zero() -> None:
    length = CodeLength(0.5)
    length.update(torch.randn(1000))
    found = length.gradient(torch.tensor([-2.0, -0.1, 0.0, 0.1, 2.0]))
    assert torch.equal(found.sign(), torch.tensor([-1.0, -1.0, 0.0, 1.0, 1.0]))
    assert torch.allclose(found, -found.flip(0))


def test_the_price_rises_where_the_file_is_too_large() -> None:
    state = RateState()
    state.steer(1000.0, 500.0, 0.0)
    first = float(state.price)
    for _ in range(5):
        state.steer(900.0, 500.0, 0.9)
    assert float(state.price) > 1.5 * first
    for _ in range(20):
        state.steer(400.0, 500.0, 0.9)
    assert float(state.price) < first


def test_a_network_trained_to_a_size_keeps_what_it_can(tmp_path: Path) -> None:
    """A classifier of digits at a 23rd of its size, graph and metadata included, loses less than 3 points."""
    torch.manual_seed(0)
    data = load_dataset("digits")
    model = nn.Sequential(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(196, 64), nn.ReLU(), nn.Linear(64, 10))
    images = torch.from_numpy(model_info("lenet300").preprocessing.apply(data.train.x))
    labels = torch.from_numpy(data.train.y)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for step in range(300):
        chosen = torch.randint(0, len(images), (64,), generator=torch.Generator().manual_seed(step))
        loss = nn.functional.cross_entropy(model(images[chosen]), labels[chosen])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    done = compress(
        model.eval(),
        "digits",
        output=tmp_path / "trained.qac",
        preprocess={"size": (28, 28)},
        sharing="rate:tuned=false",
        target_size="2300",
        epochs=60,
        tune_epochs=0,
        distill="kd",
    )
    assert 0.99 * 2300 <= done.container_bytes <= 2300
    assert done.accuracy.original is not None and done.accuracy.decoded is not None
    assert done.accuracy.decoded > done.accuracy.original - 3
    assert done.bits_per_weight < 1.5


def test_the_price_has_a_ceiling() -> None:
    state = RateState()
    for _ in range(1000):
        state.steer(1000.0, 10.0, 0.9)
    assert float(state.price) * 8 * 1000 <= 10.0 + 1e-9
