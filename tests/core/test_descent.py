"""Schedules of learning rates, clipped gradients, and a training whose loss becomes NaN."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from qacomp.batches.images import ImageExamples
from qacomp.datasets import Dataset, Split
from qacomp.datasets.preprocessing import Preprocessing
from qacomp.errors import ConfigError
from qacomp.options.method import parse_method
from qacomp.progress import SilentProgress
from qacomp.training.descent import Descent, Rates
from qacomp.training.loop import DivergedError, Stage, TrainingHooks, train
from qacomp.training.objective import Objective
from qacomp.training.optimizers import OPTIMIZERS


@pytest.mark.parametrize(("schedule", "half", "end"), [("step", 0.1, 0.01), ("exponential", 0.1, 0.01)])
def test_a_schedule_has_its_rates_at_the_middle_and_at_the_end(schedule: str, half: float, end: float) -> None:
    rates = Rates(100_000, schedule)
    assert rates(5_000 + 47_500) == pytest.approx(half, rel=1e-3)
    assert rates(99_999) == pytest.approx(end, rel=1e-3)


def test_a_cosine_is_that_of_torch_and_a_constant_stays() -> None:
    rates, warmup = Rates(1000), 50
    parameter = nn.Parameter(torch.zeros(1))
    wanted = torch.optim.lr_scheduler.CosineAnnealingLR(torch.optim.SGD([parameter], lr=1.0), 950)
    assert [rates(t) for t in range(warmup)] == pytest.approx([(t + 1) / warmup for t in range(warmup)])
    for step in range(warmup, 1000):
        assert rates(step) == pytest.approx(wanted.get_last_lr()[0], abs=1e-6)
        wanted.optimizer.step()
        wanted.step()
    assert {Rates(1000, "constant")(t) for t in range(warmup, 1000)} == {1.0}


def test_clipping_scales_all_gradients_to_the_norm() -> None:
    tensors = [nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(2))]
    for tensor in tensors:
        tensor.grad = torch.full_like(tensor, 2.0)
    Descent(clip=1.0).clipped(tensors)
    assert math.sqrt(sum(float(t.grad.square().sum()) for t in tensors if t.grad is not None)) == pytest.approx(1.0)
    before = [t.grad.clone() for t in tensors if t.grad is not None]
    Descent(clip=100.0).clipped(tensors)
    Descent().clipped(tensors)
    for tensor, gradient in zip(tensors, before, strict=True):
        assert tensor.grad is not None and torch.equal(tensor.grad, gradient)


def test_every_optimizer_takes_a_schedule_and_a_norm() -> None:
    for name in OPTIMIZERS.registry.names():
        choice = parse_method(f"{name}:schedule=step,clip=0.5", "test")
        assert Descent.of(choice) == Descent("step", 0.5)
    with pytest.raises(ConfigError, match="schedule"):
        Descent.of(parse_method("sgd:schedule=sawtooth", "test"))


class Breaks(nn.Module):
    """A linear network whose outputs are multiplied by `factor` from its `last` training step on."""

    def __init__(self, last: int, factor: float = math.nan) -> None:
        super().__init__()
        self.layer, self.last, self.factor, self.steps = nn.Linear(4, 2), last, factor, 0

    def forward(self, x: Tensor) -> Tensor:
        self.steps += self.training
        logits: Tensor = self.layer(x.flatten(1))
        return logits * self.factor if self.training and self.steps >= self.last else logits


def _train(model: nn.Module, notes: list[str]) -> int:
    rng = np.random.default_rng(0)
    split = Split(rng.integers(0, 255, (32, 2, 2, 1), dtype=np.uint8), rng.integers(0, 2, 32))
    data = ImageExamples(Dataset("made", 2, split, split, split), Preprocessing((2, 2), 1, (0.5,), (0.5,)))
    stage = Stage("train", 4, 8, 0, "none", torch.device("cpu"))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return len(train(model, data, stage, Objective(), optimizer, TrainingHooks(SilentProgress(), note=notes.append)))


@pytest.mark.parametrize("factor", [math.nan, 1e7])
def test_a_diverged_training_ends_with_the_last_good_epoch(factor: float) -> None:
    notes: list[str] = []
    broken, sound = Breaks(10, factor), Breaks(last=100)
    torch.manual_seed(0)
    sound.load_state_dict(broken.state_dict())
    assert _train(broken, notes) == 2  # four steps an epoch: the tenth is in the third
    assert len(notes) == 1 and "epoch 3" in notes[0] and "epoch 2 is kept" in notes[0]
    assert torch.isfinite(broken.layer.weight).all()


def test_a_training_that_diverges_at_once_is_an_error() -> None:
    with pytest.raises(DivergedError, match="epoch 1; try a smaller --lr"):
        _train(Breaks(last=2), [])


class BreaksAfter(Breaks):
    """The same, but it's the validation after the `last` step that gets NaN; every loss of a step is finite."""

    def forward(self, x: Tensor) -> Tensor:
        self.steps += self.training
        logits: Tensor = self.layer(x.flatten(1))
        return logits if self.training or self.steps < self.last else logits * math.nan


def test_an_epoch_whose_last_step_breaks_the_network_counts_as_diverged() -> None:
    notes: list[str] = []
    assert _train(BreaksAfter(last=12), notes) == 2
    assert len(notes) == 1 and "after epoch 3" in notes[0] and "epoch 2 is kept" in notes[0]
    with pytest.raises(DivergedError, match="NaN or infinity after epoch 1; try a smaller --lr"):
        _train(BreaksAfter(last=4), [])
