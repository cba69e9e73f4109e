"""The papers' baseline: the network without a regularizer, fine-tuned under the same conditions and then shared."""

from operator import attrgetter

import numpy as np
import pytest
import torch
from small_trial import Written, images, network, outcome
from torch import nn

from qacomp.errors import ConfigError
from qacomp.options.config import CompressConfig
from qacomp.stages.job import Job
from qacomp.training.history import WeightHistory
from qacomp.training.resume import ResumeStore

SAME = {"min_size": 1, "seed": 1, "k": 4, "epochs": 3, "tune_epochs": 1, "batch_size": 16, "sharing": "after"}


@pytest.fixture(autouse=True)
def nothing_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(job: Job, models: tuple[nn.Module, nn.Module], weights: WeightHistory) -> None:
        raise Written(job, models[1])

    monkeypatch.setattr("qacomp.stages.train.measured_network", stop)
    monkeypatch.setattr(ResumeStore, "save", lambda *args, **how: None)


def test_the_baseline_takes_the_steps_of_a_regularizer_of_no_strength() -> None:
    _, baseline = outcome(SAME, images())
    _, none = outcome(SAME | {"reg": "sin", "strength": 0.0}, images())
    fine_tuned = [r for r in baseline.training.history if r.stage == "fine-tune"]
    assert len(fine_tuned) == 3 and all(r.penalty == 0 for r in fine_tuned)
    assert fine_tuned == [r for r in none.training.history if r.stage == "fine-tune"]
    before = network()[1].model.state_dict()
    moved = {n: (v - before[n]).abs().max().item() for n, v in baseline.model.state_dict().items() if n in before}
    assert max(moved.values()) > 1e-2
    assert baseline.config.plain()["epochs"] == 3 and not baseline.config.reg.chosen
    assert baseline.training.fine_tuned is not None  # in full precision, before its weights are shared
    assert baseline.training.fine_tuned == none.training.fine_tuned


def test_the_baselines_values_are_those_of_k_means_on_the_tuned_weights() -> None:
    _, job = outcome(SAME | {"tune_epochs": 0}, images())
    layers = [module for module in job.model.modules() if hasattr(module, "parametrizations")]
    assert len(layers) == 3
    for layer in layers:
        weight: torch.Tensor = attrgetter("weight")(layer)
        assert 1 < len(np.unique(weight.detach().numpy())) <= 4


def test_without_epochs_nothing_is_fine_tuned() -> None:
    plain = {name: value for name, value in SAME.items() if name != "epochs"}
    _, job = outcome(plain, images())
    assert not [r for r in job.training.history if r.stage == "fine-tune"] and job.config.epochs == 0
    with pytest.raises(ConfigError, match="--sharing after"):
        CompressConfig(k=4, epochs=3).check()
