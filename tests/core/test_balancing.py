"""Balanced rounding: what a channel's outputs are off by never grows, and outputs behind a ReLU move less."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import nn

import qacomp
from qacomp.errors import ConfigError
from qacomp.formats import SharedTensor
from qacomp.options.config import CompressConfig
from qacomp.sharing.assignment import assign
from qacomp.sharing.balancing import RECTIFIED, balanced
from qacomp.sharing.kmeans import kmeans
from qacomp.sharing.selection import Layer
from qacomp.sharing.share import share_array


def loss(values: NDArray[Any], codebook: NDArray[Any], indices: NDArray[Any]) -> NDArray[np.float64]:
    """Σe² + γ·(Σe)² of each row."""
    error = codebook.astype(np.float64)[indices] - values
    sums: NDArray[np.float64] = (error**2).sum(1) + RECTIFIED * error.sum(1) ** 2
    return sums


def test_gamma_is_that_of_rectified_normal_inputs() -> None:
    x = np.maximum(np.random.default_rng(0).standard_normal(4_000_000), 0)
    assert x.mean() ** 2 / x.var() == pytest.approx(RECTIFIED, rel=5e-3)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 9), st.integers(1, 12))
def test_no_channel_gets_worse_and_each_weight_moves_by_one_value_at_most(seed: int, k: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    values, codebook = rng.standard_normal((5, n)), np.sort(rng.standard_normal(k))
    nearest = assign(values, codebook)
    moved = balanced(values, codebook, nearest, 0)
    assert moved.dtype == nearest.dtype and moved.max() < k
    assert np.abs(moved.astype(int) - nearest.astype(int)).max() <= 1
    assert (loss(values, codebook, moved) <= loss(values, codebook, nearest) + 1e-9).all()


def test_it_comes_close_to_the_best_of_all_choices() -> None:
    rng = np.random.default_rng(3)
    codebook = np.array([-1.0, -0.3, 0.4, 1.1])
    found, best, plain = [], [], []
    for _ in range(40):
        values = rng.normal(0, 0.6, (1, 6))
        nearest = assign(values, codebook)
        every = (np.array([choice]) for choice in itertools.product(range(4), repeat=6))
        best.append(min(loss(values, codebook, indices)[0] for indices in every))
        found.append(loss(values, codebook, balanced(values, codebook, nearest, 0))[0])
        plain.append(loss(values, codebook, nearest)[0])
    gained = (np.mean(plain) - np.mean(found)) / (np.mean(plain) - np.mean(best))
    assert gained > 0.8


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_channels_run_along_the_axis_and_their_errors_cancel(axis: int) -> None:
    values = np.random.default_rng(1).standard_normal((20, 30, 40)).astype(np.float32)
    clustering = kmeans(values, 16)
    moved = balanced(values, clustering.codebook, clustering.indices, axis)
    others = tuple(i for i in range(3) if i != axis)
    before, after = (np.abs((clustering.codebook[i] - values).sum(others)).mean() for i in (clustering.indices, moved))
    assert after < 0.05 * before
    lost = ((clustering.codebook[moved] - values) ** 2).sum() / clustering.inertia
    assert 1 <= lost < 1.01  # for nearly nothing


def test_a_convolution_of_a_smooth_image_moves_less() -> None:
    rng = np.random.default_rng(2)
    grid = np.arange(24) / 24
    waves = [np.sin(2 * np.pi * (a * grid[:, None] + b * grid + c)) for a, b, c in rng.random((8, 3))]
    x = torch.from_numpy(np.stack(waves)[None]).double()  # (1, 8, 24, 24)
    ratios = []
    for _ in range(8):
        weight = rng.standard_normal((16, 8, 3, 3))
        clustering = kmeans(weight, 6)
        exact = nn.functional.conv2d(x, torch.from_numpy(weight))
        moved = balanced(weight, clustering.codebook, clustering.indices, 0)
        found = [nn.functional.conv2d(x, torch.from_numpy(clustering.codebook[i])) for i in (clustering.indices, moved)]
        nearest, better = (float((y - exact).square().mean()) for y in found)
        ratios.append(better / nearest)
    assert np.mean(ratios) < 0.5


def test_parts_of_a_large_tensor_are_balanced_as_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(1).standard_normal((50, 30))
    clustering = kmeans(values, 8)
    whole = balanced(values, clustering.codebook, clustering.indices, 0)
    monkeypatch.setattr("qacomp.sharing.balancing._AT_ONCE", 64)
    assert np.array_equal(balanced(values, clustering.codebook, clustering.indices, 0), whole)


def deviation(model: nn.Module, rounding: str, x: torch.Tensor) -> float:
    result = qacomp.compress(model, k=8, min_size=1, rounding=rounding)
    twin = network(0)
    twin.load_state_dict(qacomp.decode(result))
    with torch.no_grad():
        return float((twin(x) - model(x)).square().mean())


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    widths = (12, 64, 64, 64, 5)
    layers: list[nn.Module] = []
    for a, b in itertools.pairwise(widths):
        layers += [nn.Linear(a, b), nn.ReLU()]
    return nn.Sequential(*layers[:-1]).eval()


def test_outputs_of_a_network_move_less() -> None:
    ratios = []
    for seed in range(5):
        model = network(seed)
        x = torch.randn(500, 12)
        ratios.append(deviation(model, "balanced", x) / deviation(model, "nearest", x))
    assert np.exp(np.mean(np.log(ratios))) < 0.8


def test_without_training_it_is_the_default_and_with_it_a_choice() -> None:
    state = {"fc.weight": torch.randn(40, 50, generator=torch.Generator().manual_seed(0))}
    settings: Callable[..., Any] = lambda **more: qacomp.compress(state, k=4, **more)  # noqa: E731
    plain, default, asked = settings(rounding="nearest"), settings(), settings(rounding="balanced")
    weights = [qacomp.decode(result)["fc.weight"] for result in (plain, default, asked)]
    assert torch.equal(weights[1], weights[2]) and not torch.equal(weights[0], weights[1])
    for more in ({"reg": "exp"}, {"levels": (4, 8)}, {"codebook": "channel"}, {"prune": "magnitude"}):
        with pytest.raises(ConfigError, match="rounding"):
            CompressConfig(rounding="balanced", **more).check()


def test_what_comes_in_mirrored_pairs_stays_so() -> None:
    half = np.random.default_rng(0).standard_normal((6, 50)).astype(np.float32)
    array = np.concatenate([half, -half])
    packed = share_array(array, Layer("w", "dense", array.shape, 16), "tensor", "fp16", "balanced")
    assert np.array_equal(packed.dense()[:6], -packed.dense()[6:])
    assert packed.note is not None and "up to signs" in packed.note


def test_pairs_of_values_without_mirrored_slices_are_balanced_as_any_other() -> None:
    numbers = np.random.default_rng(0).integers(-7, 8, (32, 64))
    array = (numbers / 8).astype(np.float32)
    packed = share_array(array, Layer("w", "dense", array.shape, 8), "tensor", "exact", "balanced")
    assert isinstance(packed.value, SharedTensor) and packed.value.codebook.size == 8 and packed.note is None
    plain = share_array(array, Layer("w", "dense", array.shape, 8), "tensor", "exact")
    sums = [np.abs((item.dense() - array).sum(axis=1)).mean() for item in (packed, plain)]
    assert sums[0] < 0.2 * sums[1]
