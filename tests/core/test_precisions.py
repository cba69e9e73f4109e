"""Precisions as sub-models: nesting that holds through training, gradients straight through, batch norm per level."""

import copy
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from qacomp.errors import ConfigError
from qacomp.models import create_model
from qacomp.models.flexible import FlexibleModel
from qacomp.sharing.kmeans import kmeans
from qacomp.sharing.nested import boundaries, nested_kmeans
from qacomp.sources.torch_weights import select_layers
from qacomp.training.distillation import flexible_loss
from qacomp.training.ladder import PrecisionLadder, build_ladder
from qacomp.training.parametrizations.nested import nested_boundaries
from qacomp.training.regularizers import build_regularizers
from qacomp.training.teaching import Lesson


class Small(nn.Module):
    """Two convolutions with batch norm and a dense layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(1, 8, 3, bias=False), nn.BatchNorm2d(8)
        self.conv2, self.norm2 = nn.Conv2d(8, 12, 3, bias=False), nn.BatchNorm2d(12)
        self.linear = nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm1(self.conv1(x)))
        x = torch.relu(self.norm2(self.conv2(x)))
        logits: Tensor = self.linear(x.mean(dim=(2, 3)))
        return logits


LEVELS = (2, 4, 16)
NAMES = ("level2", "level4", "level16", "full")


def small(levels: tuple[int, ...] = LEVELS) -> PrecisionLadder:
    torch.manual_seed(0)
    network = Small()
    return build_ladder(network, select_layers(network, "all", levels[-1], {}), levels)


def batch(seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(16, 1, 8, 8, generator=generator), torch.randint(4, (16,), generator=generator)


def steps(ladder: PrecisionLadder, count: int, lr: float = 0.2) -> None:
    ladder.train()
    optimizer = torch.optim.SGD([p for p in ladder.parameters() if p.requires_grad], lr=lr, momentum=0.9)
    for step in range(count):
        x, y = batch(step)
        optimizer.zero_grad()
        torch.autograd.backward(flexible_loss("ta-m", ladder.forward_all(x), y, Lesson(0.8, 2.0)))
        optimizer.step()
    ladder.eval()


def assert_nested(ladder: PrecisionLadder) -> None:
    """Every weight's fine cell lies in its coarse cell, and a level's weights are its codebook's values."""
    for name in ("conv1.weight", "conv2.weight", "linear.weight"):
        codebooks, weight = ladder.layer(name), ladder.network.get_parameter(name).detach()
        indices = [codebooks.index(weight, level) for level in range(codebooks.levels)]
        for (coarse, fine), parent in zip(pairwise(indices), codebooks.parents(), strict=True):
            assert torch.equal(parent[fine], coarse)
        for level, index in enumerate(indices):
            assert torch.equal(codebooks(weight, level).detach(), codebooks.books()[level].detach()[index])


def test_it_is_a_flexible_model_and_its_submodels_equal_it() -> None:
    ladder = small()
    assert isinstance(ladder, FlexibleModel) and ladder.submodel_names == NAMES
    steps(ladder, 3)
    x, _ = batch(9)
    with torch.no_grad():
        every = ladder.forward_all(x)
        assert torch.equal(ladder(x), every[-1])
        for name, logits in zip(NAMES, every, strict=True):
            torch.testing.assert_close(ladder.submodel(name)(x), logits)
    assert not any(torch.equal(logits, every[-1]) for logits in every[:-1])
    with pytest.raises(ConfigError, match="level2, level4"):
        ladder.submodel("exit1")


def test_nesting_holds_through_training_and_after_it() -> None:
    ladder = small()
    assert_nested(ladder)
    before = ladder.layer("conv2.weight").index(ladder.network.get_parameter("conv2.weight"), 2)
    for _ in range(6):
        steps(ladder, 3)
        assert_nested(ladder)
    after = ladder.layer("conv2.weight").index(ladder.network.get_parameter("conv2.weight"), 2)
    assert not torch.equal(before, after)  # the clusters did move
    ladder.freeze()
    assert_nested(ladder)
    steps(ladder, 3)
    assert_nested(ladder)


@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(1, 5))
def test_boundaries_nest_for_any_values(seed: int, coarse: int, most: int) -> None:
    """Also for values far outside their coarse cell, which training could bring about."""
    rng = np.random.default_rng(seed)
    children = rng.integers(1, most + 1, coarse)
    parent = torch.from_numpy(np.repeat(np.arange(coarse), children))
    books = [torch.from_numpy(np.sort(rng.normal(size=n) * rng.choice([0.0, 1, 5]))) for n in (coarse, children.sum())]
    bounds = nested_boundaries(books, [parent])
    assert bool((bounds[1][1:] >= bounds[1][:-1]).all())
    weights = torch.from_numpy(np.concatenate([rng.normal(size=50) * 3, *bounds, *books]))
    assert torch.equal(parent[torch.bucketize(weights, bounds[1])], torch.bucketize(weights, bounds[0]))


@given(seed=st.integers(0, 2**32 - 1), coarse=st.integers(1, 6), most=st.integers(1, 4))
def test_numpys_boundaries_are_torchs(seed: int, coarse: int, most: int) -> None:
    """Sharing without training nests in numpy, training in torch: both put a weight into the same cell, bit for bit."""
    rng = np.random.default_rng(seed)
    parent = np.repeat(np.arange(coarse), rng.integers(1, most + 1, coarse))
    books = [np.sort(rng.standard_normal(n)).astype(np.float32) for n in (coarse, parent.size)]
    torchs = nested_boundaries([torch.from_numpy(book) for book in books], [torch.from_numpy(parent)])
    weights = rng.standard_normal(64).astype(np.float32)
    for own, other in zip(boundaries(books, [parent]), torchs, strict=True):
        assert own.tobytes() == other.numpy().tobytes()
        cells = torch.bucketize(torch.from_numpy(weights), other).numpy()
        assert (np.searchsorted(own, weights) == cells).all()


def test_every_levels_gradient_reaches_the_weight_and_a_value_gets_its_clusters_mean() -> None:
    ladder = small()
    name = "linear.weight"
    codebooks, weight = ladder.layer(name), ladder.network.get_parameter(name)
    target = torch.randn(weight.shape, generator=torch.Generator().manual_seed(1))
    for level in range(3):
        ladder.zero_grad()
        torch.autograd.backward((codebooks(weight, level) * target).sum())
        assert weight.grad is not None and torch.equal(weight.grad, target)
        index, gradient = codebooks.index(weight.detach(), level), codebooks.values[level].grad
        means = torch.stack([target[index == i].mean() for i in range(codebooks.values[level].numel())])
        assert gradient is not None
        torch.testing.assert_close(gradient, means, atol=1e-6, rtol=1e-4)


def test_each_level_has_statistics_of_its_own() -> None:
    ladder = small().train()
    x, _ = batch()
    ladder.forward_all(x)
    means = [ladder.submodel(name).get_buffer("norm1.running_mean") for name in NAMES]
    assert not any(torch.equal(a, b) for a, b in pairwise(means))
    for name in NAMES:
        assert int(ladder.submodel(name).get_buffer("norm1.num_batches_tracked")) == 1


def test_fixed_clusters_drop_empty_cells_and_keep_what_ran() -> None:
    ladder = small()
    steps(ladder, 5)
    x, _ = batch(3)
    before = [logits.detach() for logits in ladder.forward_all(x)]
    ladder.freeze()
    for a, b in zip(before, ladder.forward_all(x), strict=True):
        assert torch.equal(a, b.detach())
    for name in ("conv1.weight", "conv2.weight", "linear.weight"):
        shared = ladder.layer(name).shared_tensor()
        for level in range(3):
            at = shared.at_level(level)
            assert len(np.unique(at.indices)) == len(at.codebook) <= LEVELS[level]
            used = ladder.submodel(NAMES[level]).get_parameter(name).detach().numpy()
            assert np.array_equal(at.dense(), used)
    assert not ladder.network.get_parameter("conv1.weight").requires_grad


def test_a_layer_with_its_own_number_of_values_ends_there() -> None:
    torch.manual_seed(0)
    network = Small()
    ladder = build_ladder(network, select_layers(network, "all", 16, {"conv1": 4}), LEVELS)
    assert [len(book) for book in ladder.layer("conv1.weight").books()] == [2, 4]
    x, _ = batch()
    steps(ladder, 1)
    fourth, sixteenth = (ladder.submodel(name).get_parameter("conv1.weight") for name in ("level4", "level16"))
    assert torch.equal(fourth, sixteenth) and len(ladder.forward_all(x)) == 4


def test_the_finest_values_may_belong_to_a_regularizer() -> None:
    torch.manual_seed(0)
    network = Small()
    selection = select_layers(network, "all", 16, {})
    weights = {layer.name: network.get_parameter(layer.name).detach() for layer in selection.layers}
    owners = build_regularizers("exp", weights, dict.fromkeys(weights, 16))
    ladder = build_ladder(network, selection, LEVELS, owners)
    start = copy.deepcopy(owners["conv2.weight"].representatives().detach())
    steps(ladder, 4)
    assert_nested(ladder)
    moved = owners["conv2.weight"].representatives().detach()
    assert not torch.equal(start, moved) and torch.equal(ladder.layer("conv2.weight").books()[-1].detach(), moved)


def test_a_network_with_sub_models_of_its_own_is_refused() -> None:
    network = create_model("slimmable_mobilenet")
    with pytest.raises(ConfigError, match=r"width0\.25"):
        build_ladder(network, select_layers(network, "all", 16, {}), LEVELS)


def test_nested_kmeans_is_kmeans_at_the_coarsest_level_and_close_to_it_at_the_finest() -> None:
    values = np.random.default_rng(0).laplace(size=(40, 500)).astype(np.float32)
    shared = nested_kmeans(values, (4, 16, 64))
    for level, k in enumerate((4, 16, 64)):
        plain, nested = kmeans(values, k), shared.at_level(level)
        inertia = float(((values - nested.dense()).astype(np.float64) ** 2).sum())
        assert inertia <= plain.inertia * {4: 1.0001, 16: 1.1, 64: 1.3}[k]
        means = [values[nested.indices == i].mean(dtype=np.float64) for i in range(len(nested.codebook))]
        np.testing.assert_allclose(nested.codebook, means, atol=1e-5)
