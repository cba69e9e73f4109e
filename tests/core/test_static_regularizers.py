"""R_S and R_C against the paper's formulas written out in numpy, and the range that they choose."""

import numpy as np
import pytest
import torch

from qacomp.errors import ConfigError
from qacomp.training.regularizers import Regularizer, build_regularizers
from qacomp.training.regularizers.cosine import Cosine
from qacomp.training.regularizers.sine import Sine
from qacomp.training.regularizers.uniform_range import uniform_range

LOW, HIGH = -0.7, 1.1


@pytest.mark.parametrize("k", [2, 5, 8])
def test_sine_is_the_papers(k: int) -> None:
    x = np.random.default_rng(0).normal(size=(30, 4))
    expected = np.abs(np.sin(np.pi * (k - 1) * (x - LOW) / (HIGH - LOW))).mean()
    assert Sine(k, LOW, HIGH)(torch.from_numpy(x)).item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("k", [2, 5, 8])
def test_cosine_is_the_papers(k: int) -> None:
    x = np.random.default_rng(0).normal(size=(30, 4))
    expected = np.abs(np.cos(np.pi * k * (x - LOW) / (HIGH - LOW))).mean()
    assert Cosine(k, LOW, HIGH)(torch.from_numpy(x)).item() == pytest.approx(expected, abs=1e-12)


def test_the_outermost_minima_lie_on_the_range_for_sine_and_half_a_step_inside_for_cosine() -> None:
    assert Sine(8, -1, 1).representatives()[[0, -1]].tolist() == [-1.0, 1.0]
    torch.testing.assert_close(Cosine(8, -1, 1).representatives()[[0, -1]], torch.tensor([-0.875, 0.875]))


@pytest.mark.parametrize(("k", "step_in_sigmas"), [(4, 0.9957), (8, 0.5860), (16, 0.3352)])
def test_the_range_is_the_best_uniform_quantizer_of_a_bell(k: int, step_in_sigmas: float) -> None:
    """Steps of the optimal uniform quantizer of a normal distribution: Max (1960), table II."""
    w = torch.randn(200_000, generator=torch.Generator().manual_seed(0))
    low, high = uniform_range(w, k, inset=0.0)
    assert (high - low) / (k - 1) == pytest.approx(step_in_sigmas, rel=0.06)


def learned(name: str, weight: torch.Tensor, k: int) -> Regularizer:
    return build_regularizers(f"{name}:range=learned", {"w": weight}, {"w": k})["w"]


@pytest.mark.parametrize("name", ["sin", "cos"])
@pytest.mark.parametrize("k", [2, 8])
def test_a_learned_range_has_the_textbooks_gradient(name: str, k: int) -> None:
    """The block kernel's against autograd of the formula in float64, and against finite differences."""
    weight = torch.randn(70_000, generator=torch.Generator().manual_seed(1)) * 0.3
    penalty = learned(name, weight, k)
    zeros = penalty.representatives().detach()
    phase = (weight - zeros[0]) / (zeros[1] - zeros[0])
    weight = weight[(phase - phase.round()).abs() > 1e-3]  # at a zero the slope's sign is rounding's
    leaf = weight.clone().requires_grad_()
    penalty(leaf).backward()
    (bounds,) = penalty.parameters()
    assert bounds.grad is not None and leaf.grad is not None

    def value(low: torch.Tensor, high: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        f, z = (k - 1, low) if name == "sin" else (k, low)
        wave = torch.sin if name == "sin" else torch.cos
        return wave(torch.pi * f * (w - z) / (high - low)).abs().mean()

    low, high = (b.double().requires_grad_() for b in bounds.detach())
    exact = weight.double().requires_grad_()
    value(low, high, exact).backward()  # type: ignore[no-untyped-call]
    assert low.grad is not None and high.grad is not None and exact.grad is not None
    scale = exact.grad.abs().max().item() * weight.numel() * weight.abs().mean().item()  # of the terms that cancel
    np.testing.assert_allclose(bounds.grad.numpy(), [low.grad.item(), high.grad.item()], atol=1e-5 * scale)
    torch.testing.assert_close(leaf.grad.double(), exact.grad, atol=1e-5 * exact.grad.abs().max().item(), rtol=0)
    h, w = 1e-6, weight.double()
    with torch.no_grad():
        slope = (value(low, high + h, w) - value(low, high - h, w)).item() / (2 * h)
    assert slope == pytest.approx(high.grad.item(), abs=1e-4 * scale)


@pytest.mark.parametrize("name", ["sin", "cos"])
def test_a_learned_range_finds_evenly_spaced_weights(name: str) -> None:
    """Started a little off, its zeros come to lie on the values that the weights have."""
    generator = torch.Generator().manual_seed(0)
    values = torch.tensor([-0.45, -0.15, 0.15, 0.45])
    weight = values[torch.randint(4, (20_000,), generator=generator)] + 0.005 * torch.randn(20_000, generator=generator)
    penalty = learned(name, weight, 4)
    (bounds,) = penalty.parameters()
    with torch.no_grad():
        bounds.mul_(1.08)
    before = float(penalty(weight).detach())
    optimizer = torch.optim.Adam([bounds], lr=1e-3)
    for _ in range(150):
        optimizer.zero_grad()
        penalty(weight).backward()
        optimizer.step()
    torch.testing.assert_close(penalty.representatives().detach(), values, atol=0.01, rtol=0)
    assert float(penalty(weight).detach()) < 0.3 * before


def values(name: str, weight: torch.Tensor, k: int) -> torch.Tensor:
    penalty = build_regularizers(name, {"w": weight}, {"w": k})["w"].eval()
    return torch.stack([penalty(w[None]) for w in weight[:500]])


def test_in_a_given_range_sine_and_cosine_differ_and_in_a_fitted_one_they_are_the_same() -> None:
    weight = torch.randn(4000, generator=torch.Generator().manual_seed(2)) * 0.2
    torch.testing.assert_close(values("sin", weight, 8), values("cos", weight, 8), atol=1e-4, rtol=0)
    for given in ("3sigma", "-0.6:0.6"):
        sine, cosine = (values(f"{name}:range={given}", weight, 8) for name in ("sin", "cos"))
        assert (sine - cosine).abs().mean() > 0.2


def test_a_range_in_deviations_is_that_of_each_layer() -> None:
    generator = torch.Generator().manual_seed(3)
    weights = {n: s * torch.randn(900, generator=generator) + m for n, s, m in (("a", 0.1, 0.0), ("b", 2.0, 5.0))}
    found = build_regularizers("sin:range=2.5sigma", weights, {"a": 4, "b": 4})
    for name, weight in weights.items():
        w = weight.double().numpy()
        expected = w.mean() + 2.5 * w.std() * np.array([-1, 1])
        np.testing.assert_allclose(found[name].representatives()[[0, -1]].numpy(), expected, rtol=1e-5)
    level = build_regularizers("cos:range=3sigma", {"w": torch.full((9,), 0.25)}, {"w": 2})["w"].representatives()
    torch.testing.assert_close(level, torch.tensor([0.0, 0.5]))  # no deviation: a width of 1 around the weights
    for wrong in ("sigma", "0sigma", "-1sigma", "3 sigma", "1:0", "inf:1"):
        with pytest.raises(ConfigError, match="range"):
            build_regularizers(f"sin:range={wrong}", weights, {"a": 4, "b": 4})
