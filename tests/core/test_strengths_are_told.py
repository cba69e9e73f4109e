"""Shared values don't run off in silence: their rate follows from the λ in use, and far too large values are told."""

from operator import attrgetter
from typing import Any

import pytest
import torch
from small_trial import Written, images, network, outcome
from torch import nn

from qacomp.stages.job import Job
from qacomp.training.history import WeightHistory
from qacomp.training.loop import DivergedError
from qacomp.training.resume import ResumeStore

SMALL: dict[str, Any] = {"min_size": 1, "seed": 1, "k": 4, "reg": "exp", "epochs": 3, "tune_epochs": 0}
SMALL |= {"batch_size": 16, "schedule": "constant"}


@pytest.fixture(autouse=True)
def nothing_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(job: Job, models: tuple[nn.Module, nn.Module], weights: WeightHistory) -> None:
        raise Written(job, models[1])

    monkeypatch.setattr("qacomp.stages.train.measured_network", stop)
    monkeypatch.setattr(ResumeStore, "save", lambda *args, **how: None)


def run(**settings: Any) -> Job:
    return outcome(SMALL | settings, images())[1]


def told(job: Job, flag: str) -> list[str]:
    return [note for note in job.run.notes if note.startswith(flag)]


def farthest(job: Job) -> float:
    """The largest stored weight of a layer, over the largest weight that the layer came with."""
    before = network()[1].model
    names = ("0.weight", "4.weight", "6.weight")
    with torch.no_grad():
        after: dict[str, torch.Tensor] = {n: attrgetter("weight")(job.model.get_submodule(n[0])) for n in names}
        return max(float(w.abs().max() / before.get_parameter(n).abs().max()) for n, w in after.items())


def test_balanced_values_need_no_note_and_far_too_large_ones_get_one() -> None:
    plain = run(sharing="after")
    assert not told(plain, "--lr-levels") and not told(plain, "--strength")
    (note,) = told(run(sharing="after", lr_levels=5.0), "--lr-levels 5:")
    assert "may run off" in note and "is balanced there" in note and ".weight" in note
    (note,) = told(run(sharing="after", strength=1e3), "--strength 1000:")
    assert "times their mean distance" in note
    with pytest.raises(DivergedError, match=r"the loss rose to .* in epoch 1; try a smaller --lr or --strength"):
        run(sharing="after", strength=1e5)


@pytest.mark.parametrize(
    "settings", [{}, {"strength": 5.0}, {"reg": "min", "strength": 30.0}, {"lr_levels": 0.001}, {"strength": 0.0}]
)
def test_shared_values_stay_near_the_weights_whatever_rate_and_strength(settings: dict[str, Any]) -> None:
    """The task moves them at --lr; a given λ has a rate that suits it, not the one of the balanced λ."""
    assert 0.3 < farthest(run(sharing="straight-through", **settings)) < 2.0
