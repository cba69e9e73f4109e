"""Straight-through sharing: what the forward pass uses, what the gradients are, and what is harvested."""

import copy

import numpy as np
import pytest
import torch

from qacomp.training.parametrizations.straight_through import harvest, install, is_straight_through
from qacomp.training.regularizers import trained_weight
from qacomp.training.regularizers.minimum_distance import MinimumDistance

LEVELS = torch.tensor([-0.3, 0.1, 0.2])


def layer(entropy: float = 0.0) -> tuple[torch.nn.Linear, MinimumDistance]:
    torch.manual_seed(0)
    module, owner = torch.nn.Linear(40, 30), MinimumDistance(LEVELS.clone())
    install(module, "weight", owner, entropy)
    return module, owner


def test_the_forward_pass_uses_the_nearest_level() -> None:
    module, _ = layer()
    w = trained_weight(module, "weight").detach()
    nearest = LEVELS[(w[..., None] - LEVELS).abs().argmin(-1)]
    assert torch.equal(module.weight.detach(), nearest)
    assert is_straight_through(module, "weight") and not is_straight_through(module, "bias")


def test_the_shadow_gets_the_weights_gradient_and_a_level_its_clusters_mean() -> None:
    module, owner = layer()
    target = torch.randn(30, 40, generator=torch.Generator().manual_seed(1))
    torch.autograd.backward((module.weight * target).sum())  # d/d weight = target
    gradient = trained_weight(module, "weight").grad
    assert gradient is not None and torch.equal(gradient, target)
    index = torch.bucketize(trained_weight(module, "weight").detach(), (LEVELS[1:] + LEVELS[:-1]) / 2)
    expected = torch.stack([target[index == i].mean() if (index == i).any() else torch.zeros(()) for i in range(3)])
    assert owner.u.grad is not None
    torch.testing.assert_close(owner.u.grad, expected, atol=1e-6, rtol=1e-4)


def test_what_is_harvested_is_what_ran() -> None:
    module, _ = layer(entropy=0.5)
    module.train()
    for _ in range(20):
        _ = module.weight  # the shares settle
    module.eval()
    ran = module.weight.detach().clone()
    codebook, indices = harvest(module, "weight")
    assert np.array_equal(codebook[indices], ran.numpy())
    assert np.unique(indices).size == codebook.size
    assert not is_straight_through(module, "weight") and torch.equal(module.weight, ran)


@pytest.mark.parametrize("low", [0.0, 0.2])
def test_an_entropy_weight_lowers_the_entropy(low: float) -> None:
    entropies = []
    for eta in (low, low + 1.0):
        module, owner = torch.nn.Linear(100, 100), MinimumDistance(torch.tensor([-1.5, -0.45, 0.45, 1.5]))
        with torch.no_grad():
            module.weight.normal_(generator=torch.Generator().manual_seed(2))
        install(module, "weight", owner, eta)
        for _ in range(400):
            _ = module.weight
        _, indices = harvest(module, "weight")
        p = np.bincount(indices.ravel()) / indices.size
        entropies.append(float(-(p * np.log2(p)).sum()))
    assert entropies[1] < entropies[0] - 0.05


def test_boundaries_move_towards_the_rarer_level_as_the_lagrangian_says() -> None:
    """On a grid of weights: each goes to argmin (w − u)² + η·s²·bits, by brute force."""
    module, owner = layer(entropy=0.4)
    parametrization = module.get_submodule("parametrizations.weight.0")
    parametrization.get_buffer("shares").copy_(torch.tensor([0.1, 0.7, 0.2]))
    w = torch.linspace(-0.5, 0.5, 1001)
    got = parametrization.index(w, LEVELS)  # type: ignore[operator]
    spacing = (LEVELS[1:] - LEVELS[:-1]).mean()
    bits = -torch.log2(torch.tensor([0.1, 0.7, 0.2]))
    cost = (w[:, None] - LEVELS) ** 2 + 0.4 * spacing**2 * bits
    chosen = cost.gather(1, got[:, None]).squeeze()
    assert (chosen <= cost.min(dim=1).values + 1e-4).all()
    assert owner.u.numel() == 3


def test_shares_are_updated_in_training_only() -> None:
    module, _ = layer()
    parametrization = copy.deepcopy(module).eval().get_submodule("parametrizations.weight.0")
    before = parametrization.get_buffer("shares").clone()
    parametrization(torch.randn(30, 40))
    assert torch.equal(before, parametrization.get_buffer("shares"))
