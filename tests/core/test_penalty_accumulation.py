"""Penalties added straight to gradients, against autograd; slices, ranges, starts and strengths of the options."""

import re

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from qacomp.errors import ConfigError
from qacomp.options.method import parse_method
from qacomp.training.regularizers import (
    QuantizedLayer,
    Regularizer,
    Schedule,
    accumulate_penalties,
    build_regularizers,
    extra_penalty,
    list_regularizers,
    strength_schedule,
    total_penalty,
)
from qacomp.training.regularizers.blocks import BLOCK, memory_order
from qacomp.training.regularizers.intervals import interval
from qacomp.training.regularizers.nearest import NearestKernel, sum_by_level
from qacomp.training.regularizers.sinreq import SinReQ

ALL = list_regularizers()


def network(seed: int = 0) -> nn.Sequential:
    """Two layers large enough for kernels, one of them channels last, and one small layer."""
    torch.manual_seed(seed)
    conv = nn.Conv2d(32, 64, 3).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return nn.Sequential(conv, nn.Linear(600, 300), nn.Linear(5, 7))


def built(model: nn.Module, method: str, slices: int = 1) -> dict[str, Regularizer]:
    weights = {n: p for n, p in model.named_parameters() if p.ndim >= 2}
    choice = parse_method(method, "--reg").filled(slices=slices)
    return build_regularizers(choice, weights, dict.fromkeys(weights, 6))


def gradients(model: nn.Module, penalties: dict[str, Regularizer]) -> list[torch.Tensor]:
    leaves = [*model.parameters(), *(p for penalty in penalties.values() for p in penalty.parameters())]
    return [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in leaves]


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("start_from", ["none", "gradients"])
def test_accumulating_is_backward_of_the_total(name: str, start_from: str) -> None:
    results = []
    for direct in (False, True):
        model = network()
        penalties = built(model, "sinreq:learn_bits=true" if name == "sinreq" else name)
        for penalty in penalties.values():
            penalty.set_strength(0.5)
            if isinstance(penalty, SinReQ):
                penalty.bits.data.fill_(3.3)
        if start_from == "gradients":
            sum((p * p).sum() for p in model.parameters()).backward()  # type: ignore[union-attr]
        if direct:
            value = accumulate_penalties(model, penalties, 20.0)
        else:
            total, extra = total_penalty(model, penalties), extra_penalty(penalties)
            (20.0 * total if extra is None else 20.0 * total + extra).backward()  # type: ignore[no-untyped-call]
            value = total.detach()
        results.append((value, gradients(model, penalties)))
    torch.testing.assert_close(results[0][0], results[1][0], rtol=1e-6, atol=0)
    for expected, got in zip(results[0][1], results[1][1], strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", ALL)
def test_a_round_of_slices_adds_up_to_the_whole(name: str) -> None:
    whole, sliced = network(), network()
    accumulate_penalties(whole, built(whole, name), 1.0)
    penalties = built(sliced, name, slices=3)
    values = [accumulate_penalties(sliced, penalties, 1 / 3) for _ in range(3)]
    expected = total_penalty(whole, built(whole, name))
    torch.testing.assert_close(torch.stack(values).mean(), expected.detach(), rtol=1e-5, atol=0)
    for a, b in zip(whole.parameters(), sliced.parameters(), strict=True):
        if a.grad is not None:
            torch.testing.assert_close(b.grad, a.grad, rtol=1e-4, atol=1e-8)


def test_the_turn_of_the_slices_is_state_to_resume_from() -> None:
    model = network()
    penalties = built(model, "exp", slices=4)
    for _ in range(3):
        accumulate_penalties(model, penalties, 1.0)
    assert {int(p.state_dict()["turn"]) for p in penalties.values()} == {3}


def test_the_threads_leave_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    weight = torch.randn(40 * BLOCK + 13, generator=torch.Generator().manual_seed(0)) * 0.1
    results = []
    for threads in (1, 3):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        model = nn.ParameterDict({"w": nn.Parameter(weight.clone())})
        penalties = build_regularizers("exp", {"w": model["w"]}, {"w": 9})
        value = accumulate_penalties(model, penalties, 1.0)
        results.append([value, *gradients(model, penalties)])
    for one, three in zip(*results, strict=True):
        assert torch.equal(one, three)


def test_a_parametrized_weight_is_penalized_at_its_original() -> None:
    model = nn.Sequential(nn.Linear(4, 4))
    parametrize.register_parametrization(model[0], "weight", nn.Tanh())
    shadow = model.get_parameter("0.parametrizations.weight.original")
    penalties = build_regularizers("sin", {"0.weight": shadow}, {"0.weight": 4})
    accumulate_penalties(model, penalties, 1.0)
    expected = shadow.detach().clone().requires_grad_()
    (gradient,) = torch.autograd.grad(penalties["0.weight"](expected), expected)
    torch.testing.assert_close(shadow.grad, gradient)


@pytest.mark.parametrize("scale", [1e-7, 1e-3, 1.0, 300.0, 1e5])
@pytest.mark.parametrize("k", [2, 5, 64, 300])
def test_the_lookup_finds_the_nearest_level_at_any_scale(scale: float, k: int) -> None:
    generator = torch.Generator().manual_seed(k)
    levels = (torch.randn(k, generator=generator) * scale).sort().values
    levels[: k // 3] = levels[k // 3]  # several levels in one place
    middles = (levels[1:] + levels[:-1]) / 2
    points = torch.cat([levels, middles, torch.nextafter(middles, middles + 1), torch.zeros(1), -torch.zeros(1)])
    w = torch.cat([points, torch.randn(20_000, generator=generator) * scale])
    slopes = torch.empty_like(w)
    worker = NearestKernel(levels, exponential=False).worker()
    worker(w, slopes)
    searched = torch.bucketize(w, middles)
    torch.testing.assert_close(slopes, 2 * (w - levels[searched]), rtol=0, atol=0)
    assert torch.equal(interval(w, middles), searched)
    assert torch.equal(interval(w.view(1, -1), middles), searched.view(1, -1))


def test_sums_by_level_keep_their_digits_over_many_weights() -> None:
    values = torch.rand(3_000_000, generator=torch.Generator().manual_seed(0))
    index = torch.zeros(values.numel(), dtype=torch.int64)
    got = sum_by_level(values, index, 2)
    assert got[0].item() == pytest.approx(values.double().sum().item(), rel=1e-6)
    assert got[1] == 0


def test_memory_order_is_a_view_or_nothing() -> None:
    dense = torch.randn(4, 3, 5, 5)
    for tensor in (dense, dense.to(memory_format=torch.channels_last), dense.permute(2, 0, 3, 1)):
        flat = memory_order(tensor)
        assert flat is not None and flat.data_ptr() == tensor.data_ptr() and flat.numel() == tensor.numel()
    assert memory_order(dense[:, :2]) is None


@pytest.mark.parametrize("init", ["kmeans", "quantile", "uniform"])
def test_where_the_representatives_start(init: str) -> None:
    model = network()
    for penalty in built(model, f"exp:init={init}").values():
        levels = penalty.representatives().detach()
        assert levels.numel() == 6 and (levels.diff() > 0).all()
        if init == "uniform":
            torch.testing.assert_close(levels.diff(), levels.diff().mean().expand(5))
    quantiles = built(model, "min:init=quantile")["1.weight"].representatives().detach().numpy()
    weights = model.get_parameter("1.weight").detach().numpy().reshape(-1)
    np.testing.assert_allclose(quantiles, np.quantile(weights, (np.arange(6) + 0.5) / 6), atol=1e-4)


@pytest.mark.parametrize(("name", "ends"), [("sin", 0.0), ("cos", 0.5)])
def test_ranges_by_layer_global_and_given(name: str, ends: float) -> None:
    model = network()
    given = built(model, f"{name}:range=-1:2")
    for penalty in given.values():
        step = 3.0 / (5 if name == "sin" else 6)
        torch.testing.assert_close(
            penalty.representatives()[[0, -1]], torch.tensor([-1 + ends * step, 2 - ends * step])
        )
    common = [p.representatives() for p in built(model, f"{name}:range=global").values()]
    assert torch.equal(common[0], common[1]) and torch.equal(common[0], common[2])
    own = [p.representatives() for p in built(model, name).values()]
    assert not torch.equal(own[0], own[1])


def test_strengths_and_bits_of_single_layers() -> None:
    model = network()
    weights = {n: p for n, p in model.named_parameters() if p.ndim >= 2}
    ks = dict.fromkeys(weights, 8)
    p = build_regularizers("sinreq", weights, ks, quantized={"0.weight": QuantizedLayer("dorefa", 5)})
    p["1.weight"].set_strength(0.0)
    assert [q.strength for q in p.values()] == [1.0, 0.0, 1.0]
    assert [q.representatives().numel() for q in p.values()] == [32, 8, 8]
    accumulate_penalties(model, p, 1.0)
    gradient = model.get_parameter("1.weight").grad
    assert gradient is not None and not gradient.any()
    gradient = model.get_parameter("0.weight").grad
    assert gradient is not None and gradient.any()


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("exp:init=random", "--reg exp: init = 'random': must be one of kmeans, quantile, uniform"),
        ("sin:range=network", "--reg sin: range = 'network': must be layer, global, learned, 3sigma or LOW:HIGH"),
        ("cos:range=1:1", "--reg cos: range = '1:1': must be two numbers, the smaller one first"),
        ("sin:range=0:inf", "--reg sin: range = '0:inf': must be two numbers, the smaller one first"),
        ("sinreq:domain=pact", "--reg sinreq: domain = 'pact': must be one of auto, dorefa, wrpn"),
        ("sinreq:learn_bits=true,bits_penalty=nan", "--reg sinreq: bits_penalty = nan: must not be negative"),
    ],
)
def test_hyperparameters_that_cannot_work(method: str, message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}"):
        built(network(), method)


def test_schedules() -> None:
    def schedule(text: str, epochs: int = 1) -> Schedule:
        return strength_schedule(parse_method(text, "--schedule"), epochs)

    assert [schedule("constant")(t) for t in (0.0, 0.3, 1.0)] == [1, 1, 1]
    assert [schedule("warmup")(t) for t in (0.0, 0.25, 0.5, 1.0)] == [0, 0.5, 1, 1]
    assert schedule("warmup:fraction=0")(0.0) == 1
    rising = schedule("tanh:width=20", 100)
    assert rising(0.2) == 0.5  # epoch 20 of 100
    assert rising(0.5) == pytest.approx(0.5 * (1 + np.tanh((50 - 20) / 20)))
    assert schedule("tanh", 100)(0.5) == pytest.approx(0.5 * (1 + np.tanh((50 - 20) / 10)))
    assert schedule("tanh", 4)(0.5) == pytest.approx(0.5 * (1 + np.tanh((2 - 0.8) / 1)))
    with pytest.raises(ConfigError, match="known are constant, warmup, tanh"):
        schedule("cosine")
