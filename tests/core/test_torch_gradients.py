"""Moments of gradients at the outputs of a PyTorch network's layers, and what they gain."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import qacomp
from qacomp.calibration import torch_gradients, torch_model
from qacomp.calibration.gradient_moments import PASSES
from qacomp.calibration.layer_inputs import grouped_outputs
from qacomp.calibration.torch_gradients import gradient_moments
from qacomp.calibration.torch_model import TorchCalibration
from qacomp.rate.compensation import factorized
from qacomp.rate.guard import both_ways_or_inputs, tell_of_outputs
from qacomp.rate.sharing import RateSharing
from qacomp.rate.steps import WeightOnGrid


class Inner(nn.Module):
    """Layers of all kinds, changed in place behind each of them."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.grouped = nn.Conv2d(8, 12, 3, groups=2)
        self.up = nn.ConvTranspose2d(12, 6, 2, stride=2)
        self.last = nn.Linear(6, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in (self.first, self.grouped, self.up):
            x = torch.relu_(layer(x))
        found: torch.Tensor = self.last(x.mean((2, 3)))
        return found


def network() -> Inner:
    torch.manual_seed(0)
    return Inner().eval()


def shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in model.named_parameters() if value.dim() > 1}


def test_outputs_of_convolutions_are_their_channels_by_group() -> None:
    made = torch.randn(2, 12, 4, 5)
    found = grouped_outputs(nn.Conv2d(8, 12, 3, groups=2), made)
    assert found.shape == (2, 6, 40)
    assert torch.equal(found[1, 3].reshape(2, 4, 5), made[:, 9])
    assert torch.equal(grouped_outputs(nn.Conv2d(8, 12, 3), made[0])[0, 3].reshape(4, 5), made[0, 3])
    assert torch.equal(grouped_outputs(nn.Linear(3, 5), made)[0, 2].reshape(2, 12, 4), made[..., 2])


def test_gradients_are_those_of_the_network() -> None:
    """The mean over what is sent back is that of the Jacobian's."""
    model, x = network(), torch.randn(16, 3, 6, 6)
    sums: Any = 0.0
    for seed in range(60):
        sums = sums + gradient_moments(model, [x], {"a": model.first}, seed, lambda: None)["a"][0] / 60
    held: list[torch.Tensor] = []

    def hold(module: nn.Module, given: Any, made: torch.Tensor) -> torch.Tensor:
        held.append(made)
        return made.clone()  # which is changed in place

    handle = model.first.register_forward_hook(hold)
    y = model(x)
    handle.remove()
    spread = float(((y - y.mean(0)).detach().double() ** 2).sum()) / len(y)
    wanted: Any = 0.0
    for i in range(5):
        (gradient,) = torch.autograd.grad(y[:, i].sum(), held[0], retain_graph=True)
        rows = gradient.permute(1, 0, 2, 3).reshape(8, -1).double()
        wanted = wanted + (rows @ rows.T).numpy() / rows.shape[1] / spread
    assert np.linalg.norm(sums - wanted) < 0.15 * np.linalg.norm(wanted)


def test_each_layer_has_them_in_the_rows_of_its_view() -> None:
    model, x = network(), torch.randn(64, 3, 6, 6)
    calibration, steps = TorchCalibration(model, x, "noise", 0), list[int]()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = calibration.moments(shapes(model), lambda: steps.append(1))
    assert len(steps) == calibration.batches == 1 + PASSES
    sizes = {name: None if m.outputs is None else m.outputs.shape for name, m in found.items()}
    assert sizes["first.weight"] == (1, 8, 8) and sizes["last.weight"] == (1, 5, 5)
    assert sizes["grouped.weight"] == (2, 6, 6)
    assert sizes["up.weight"] == (1, 6, 6)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def sharing_of(calibration: TorchCalibration, model: nn.Module) -> RateSharing:
    state = model.state_dict()
    weights = {
        name: WeightOnGrid(state[name].numpy(), moment.view, factorized(moment.values, moment.outputs))
        for name, moment in calibration.moments(shapes(model), lambda: None).items()
    }
    steps = {name: 0.5 * weight.deviation for name, weight in weights.items()}
    return RateSharing(weights, steps, {name: np.dtype(np.float32) for name in weights}, "exact", {})


def wide() -> nn.Sequential:
    """A network whose hidden values matter unlike, and together."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(40, 64), nn.Linear(64, 64), nn.ReLU(inplace=True), nn.Linear(64, 6)).eval()
    with torch.no_grad():
        for name in ("1.weight", "3.weight"):
            model.get_parameter(name).mul_(torch.logspace(0, -2, 64))
    return model


def test_outputs_move_less_and_other_inputs_decide() -> None:
    model, x = wide(), torch.randn(256, 40) @ torch.randn(40, 40)
    calibration = TorchCalibration(model, x, "noise", 0)
    both = sharing_of(calibration, model)
    assert both.both_ways == 3

    def moved(sharing: RateSharing) -> float:
        return calibration.distance_elsewhere({n: w.changed(sharing.steps[n]) for n, w in sharing.weights.items()})

    notes: list[str] = []
    one = both_ways_or_inputs(both, lambda values: 1.0, notes.append)  # no better
    assert len(notes) == 1 and "is no better on other inputs" in notes[0]
    assert one.both_ways == 0 and moved(both) < 0.8 * moved(one)
    assert both_ways_or_inputs(both, calibration.distance_elsewhere, notes.append) is both
    assert notes[1:] == ["3 of 3 weights: rounding errors compensate each other along outputs too"]
    assert both_ways_or_inputs(one, calibration.distance_elsewhere, notes.append) is one and len(notes) == 2


def test_a_note_names_the_weights_that_outputs_do_not_compensate() -> None:
    both = sharing_of(TorchCalibration(wide(), torch.randn(256, 40), "noise", 0), wide())
    alone = {f"{i}\x1b.weight": replace(both.weights["0.weight"], factor=None) for i in range(5)}
    notes: list[str] = []
    tell_of_outputs(replace(both, weights={**both.weights, **alone}), notes.append)
    tell_of_outputs(replace(both, weights=alone), notes.append)
    tell_of_outputs(replace(both, weights={**both.weights, **dict(list(alone.items())[:1])}), notes.append)
    start = "weights: rounding errors compensate each other along outputs too; not 0\\x1b.weight"
    assert notes == [f"3 of 8 {start}, 1\\x1b.weight, 2\\x1b.weight and 2 more", f"3 of 4 {start}"]


def test_other_inputs_are_the_last_ones() -> None:
    model, x = wide(), torch.randn(160, 40)
    calibration = TorchCalibration(model, [x[:100], x[100:]], "noise", 0)
    alone = TorchCalibration(model, x[-20:], "noise", 0)
    values = {"0.weight": model.state_dict()["0.weight"].numpy() * 1.1}
    assert calibration.distance_elsewhere(values) == pytest.approx(alone.distance(values), rel=1e-6)


class Frozen(nn.Module):
    """A network that can't be run backwards."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(40, 30), nn.Linear(30, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        class NoWay(torch.autograd.Function):
            @staticmethod
            def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
                return x.tanh()

            @staticmethod
            def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
                raise RuntimeError("no way\nback")

        found: torch.Tensor = self.last(NoWay.apply(self.first(x)))  # type: ignore[no-untyped-call]
        return found


def test_without_gradients_inputs_alone_count_and_a_note_says_why() -> None:
    notes: list[str] = []
    model = Frozen().eval()
    calibration = TorchCalibration(model, torch.randn(64, 40), "noise", 0, notes.append)
    found = calibration.moments(shapes(model), lambda: None)
    assert len(found) == 2 and all(moment.outputs is None for moment in found.values())
    assert len(notes) == 1 and "can't be run backwards (no way back)" in notes[0]


def test_a_large_network_and_few_inputs_have_none(monkeypatch: pytest.MonkeyPatch) -> None:
    model = wide()
    notes: list[str] = []
    few = TorchCalibration(model, torch.randn(32, 40), "noise", 0, notes.append)
    assert all(m.outputs is None for m in few.moments(shapes(model), lambda: None).values()) and few.batches == 1
    monkeypatch.setattr(torch_model, "MOST_VALUES", 63)
    found = TorchCalibration(model, torch.randn(64, 40), "noise", 0).moments(shapes(model), lambda: None)
    assert [name for name, moment in found.items() if moment.outputs is not None] == ["3.weight"]
    for module in (torch_gradients, torch_model):
        monkeypatch.setattr(module, "MOST_WEIGHTS", 1000)
    large = TorchCalibration(model, torch.randn(64, 40), "noise", 0, notes.append)
    assert all(m.outputs is None for m in large.moments(shapes(model), lambda: None).values())
    assert len(notes) == 2 and "too few inputs" in notes[0] and "more than 1,000 weights" in notes[1]


def test_a_compression_tells_it() -> None:
    model = nn.Sequential(nn.Flatten(), wide())
    done = qacomp.compress(model, input_shape=(1, 5, 8), target_size="6KB", sharing="rate:tuned=false")
    assert "3 of 3 weights: rounding errors compensate each other along outputs too" in done.notes
    assert done.container_bytes <= 6000
