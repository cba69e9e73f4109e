"""SinReQ's published steps in the raw domain, bits that are learned, and a penalty that pulls weights to the levels."""

import numpy as np
import pytest
import torch

from qacomp.errors import ConfigError
from qacomp.options.config import CompressConfig
from qacomp.options.method import MethodChoice
from qacomp.options.needs import shares_in_training
from qacomp.training.learned_bits import advance_bits
from qacomp.training.quantizers import quantizer_named
from qacomp.training.regularizers import QuantizedLayer
from qacomp.training.regularizers.sinreq import SinReQ, SinReQOptions


def normal(*shape: int, scale: float = 0.3) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * scale


@pytest.mark.parametrize("bits", [2, 3, 5])
@pytest.mark.parametrize("domain", ["dorefa-raw", "wrpn-raw"])
def test_the_raw_domain_is_algorithm_1(domain: str, bits: int) -> None:
    w = normal(30, 20)
    step = 1 / (2**bits - 0.5) if domain == "dorefa-raw" else 1 / (2**bits - 1)
    delta = step / 2 if domain == "dorefa-raw" else 0.0
    expected = (np.sin(np.pi * (w.numpy() + delta) / step) ** 2).mean()
    penalty = SinReQ.for_weights(w, 8, SinReQOptions(domain=domain), QuantizedLayer("dorefa", bits)).double()
    assert penalty(w).item() == pytest.approx(expected, abs=1e-12)
    levels = penalty.representatives()
    assert penalty(levels.double()).item() == pytest.approx(0, abs=1e-9)
    assert levels.abs().max() <= w.abs().max() + 1e-6


@pytest.mark.parametrize(("k", "levels"), [(2, 2), (3, 3), (7, 7), (8, 7), (16, 15)])
def test_levels_of_wrpn_for_k(k: int, levels: int) -> None:
    assert SinReQ.for_weights(normal(40, 20), k, SinReQOptions(domain="wrpn")).representatives().numel() == levels


def test_the_scale_follows_the_weights_in_training_and_rests_in_evaluation() -> None:
    w = normal(40, 20)
    penalty = SinReQ.for_weights(w, 8, SinReQOptions())
    before = penalty.scale.clone()
    penalty.eval()
    penalty(2 * w)
    assert torch.equal(penalty.scale, before)
    penalty.train()
    penalty(2 * w)
    torch.testing.assert_close(penalty.scale, torch.tanh(2 * w.abs().max()).float())


@pytest.mark.parametrize("domain", ["dorefa", "wrpn"])
def test_descending_brings_weights_to_what_the_quantizer_makes_of_them(domain: str) -> None:
    w = normal(40, 20).requires_grad_()
    penalty = SinReQ.for_weights(w, 8, SinReQOptions(domain=domain), QuantizedLayer(domain, 3)).double()
    quantizer = quantizer_named(domain)

    def distance() -> float:
        t = torch.tanh(w) / torch.tanh(w).abs().max() if domain == "dorefa" else w.clamp(-1, 1)
        return (t - quantizer.quantize(w, 3)).abs().mean().item()

    before = distance()
    for _ in range(100):
        (gradient,) = torch.autograd.grad(penalty(w), w)
        with torch.no_grad():
            w -= 2.0 * gradient
    assert distance() < 0.5 * before


def test_bits_are_learned_against_their_price() -> None:
    w = normal(40, 20)
    penalty = SinReQ.for_weights(w, 8, SinReQOptions(learn_bits=True)).double()
    assert penalty.bits.item() == 8 and penalty.whole_bits() == 8
    extra = penalty.extra_penalty()
    assert extra is not None and extra.item() == pytest.approx(0.03 * 8)
    optimizer = torch.optim.SGD(penalty.parameters(), lr=10.0)
    advance_bits({"w": penalty}, optimizer, 80)
    for step in range(80):
        optimizer.zero_grad()
        extra = penalty.extra_penalty()
        assert (extra is None) == (step > 53)  # they are fixed for the last third
        if extra is not None:
            extra.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        assert 2 <= penalty.bits.item() <= 8
    assert penalty.bits.item() == 2 and penalty.whole_bits() == 2


@pytest.mark.parametrize("bits", [2, 4, 7])
@pytest.mark.parametrize("domain", ["dorefa", "wrpn"])
def test_with_learned_bits_the_pull_is_as_far_at_every_number_of_bits(domain: str, bits: int) -> None:
    """A step of gradient descent is the same part of the distance between two levels, and zeros are the levels."""
    w = normal(400, 200)
    penalty = SinReQ.for_weights(w, 8, SinReQOptions(learn_bits=True, domain=domain)).double()
    parts = []
    for count in (8.0, bits + 0.3):
        penalty.bits.data.fill_(count)
        levels = penalty.representatives()
        assert levels.numel() == (2 ** round(count) if domain == "dorefa" else 2 ** round(count) - 1)
        assert penalty(levels.double()).item() == pytest.approx(0, abs=1e-5)
        leaf = w.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(penalty(leaf), leaf)
        gap = (levels[1:] - levels[:-1]).median()
        parts.append(float(gradient.abs().mean() / gap))
        kernel = penalty.float()(w.float())
        assert kernel.item() == pytest.approx(penalty.double().reference(w).item(), rel=1e-4)
    assert 0.6 < parts[0] / parts[1] < 1.6  # the gaps of dorefa's levels aren't equal


def test_fixed_bits_are_no_parameter() -> None:
    penalty = SinReQ.for_weights(normal(4, 5), 8, SinReQOptions())
    assert not list(penalty.parameters()) and penalty.extra_penalty() is None
    assert {"bits", "scale"} <= set(penalty.state_dict())


def test_weights_below_the_first_raw_level_get_the_two_beside_them() -> None:
    """The raw levels of two bits begin at 1/7: a layer of smaller weights is pulled to ±1/7."""
    weight = torch.linspace(-0.05, 0.05, 9)
    penalty = SinReQ.for_weights(weight, 4, SinReQOptions(domain="dorefa-raw"))
    torch.testing.assert_close(penalty.representatives(), torch.tensor([-1 / 7, 1 / 7]))


def test_raw_domains_are_shared_after_the_fine_tuning() -> None:
    """The number of their levels follows the weights."""
    raw = CompressConfig(reg=MethodChoice("sinreq", {"domain": "wrpn-raw"}))
    with pytest.raises(ConfigError, match="--sharing after"):
        raw.with_settings({"sharing": "straight-through"}, "test").check()
    assert not shares_in_training(raw)
    assert shares_in_training(CompressConfig(reg=MethodChoice("sinreq")))
