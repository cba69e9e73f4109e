"""What a precision ladder is for: coarse levels that were trained beat the same clusters found afterwards."""

import copy
from collections.abc import Mapping
from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from qacomp.batches.images import ImageExamples
from qacomp.datasets import Dataset
from qacomp.evaluation.submodels import submodel_accuracies
from qacomp.models import create_model, model_info
from qacomp.options.config import CompressConfig
from qacomp.options.method import MethodChoice
from qacomp.progress import SilentProgress
from qacomp.sources.network import Network
from qacomp.sources.torch_weights import select_layers
from qacomp.stages.resolve import resolve_network
from qacomp.training.fine_tune import tune_shared
from qacomp.training.fine_tune_ladder import fine_tune_ladder
from qacomp.training.ladder import build_ladder
from qacomp.training.loop import Stage, TrainingHooks, parameter_groups, train
from qacomp.training.objective import Objective
from qacomp.training.regularizers import Regularizer
from qacomp.training.setup import TrainingSetup
from qacomp.training.teaching import Lesson

CPU = torch.device("cpu")
PREPROCESSING = model_info("lenet300").preprocessing


def trained(digits: Dataset, seed: int) -> torch.nn.Module:
    torch.manual_seed(seed)
    model = create_model("lenet300")
    optimizer = torch.optim.SGD(parameter_groups(model, 0.05, 1e-4), momentum=0.9)
    stage = Stage("train", 8, 64, 0, "none", CPU)
    train(model, ImageExamples(digits, PREPROCESSING), stage, Objective(), optimizer, TrainingHooks(SilentProgress()))
    return model


@pytest.fixture(scope="module")
def network(digits: Dataset) -> torch.nn.Module:
    return trained(digits, 0)


def session(network: torch.nn.Module, digits: Dataset, **settings: object) -> TrainingSetup:
    config = CompressConfig(levels=(2, 4), epochs=4, tune_epochs=2, precision="fp32", lr=0.02)
    config = config.with_settings(settings, "test")
    wrapped = Network(network, "lenet300", 10, (1, 28, 28), PREPROCESSING)
    config = resolve_network(config, wrapped, ImageExamples(digits, PREPROCESSING), lambda text: None)
    return TrainingSetup(
        config, ImageExamples(digits, PREPROCESSING), copy.deepcopy(network).eval(), CPU, SilentProgress()
    )


@pytest.mark.parametrize("settings", [{"distill": "none"}, {"distill": "kd", "reg": "exp"}])
def test_a_trained_coarse_level_beats_k_means(
    network: torch.nn.Module, digits: Dataset, settings: dict[str, object]
) -> None:
    """Over five noisy copies of the test images: 1,795 of them tell more than 359 clean ones."""
    x, rng = PREPROCESSING.apply(digits.test.x), np.random.default_rng(0)
    x = np.concatenate([(x + rng.normal(size=x.shape)).astype(np.float32) for _ in range(5)])
    y = np.tile(digits.test.y, 5)
    selection = select_layers(network, "all", 4, {})
    before = submodel_accuracies(build_ladder(copy.deepcopy(network), selection, (2, 4)), x, y)
    at = session(network, digits, **settings)
    ladder, records = fine_tune_ladder(copy.deepcopy(network), selection, at)
    ladder.freeze()
    tune_shared(ladder, at)
    after = submodel_accuracies(ladder, x, y)
    assert after["level2"] > before["level2"] + 2.0, (before, after)
    assert len(records) == 4


def test_the_epoch_with_the_best_mean_over_all_sub_models_stays(network: torch.nn.Module, digits: Dataset) -> None:
    at = session(network, digits, distill="none", lr=0.5)  # the steps are far too long: it gets worse
    ladder, records = fine_tune_ladder(copy.deepcopy(network), select_layers(network, "all", 4, {}), at)
    accuracies = submodel_accuracies(ladder, PREPROCESSING.apply(digits.val.x), digits.val.y)
    mean = sum(accuracies.values()) / len(accuracies)
    validated = [record.measured for record in records]
    assert mean >= max(validated) and mean > min(validated) + 5


def test_sub_models_of_a_plain_network_are_its_shared_values_and_full_precision(
    network: torch.nn.Module, digits: Dataset
) -> None:
    wrapped = Network(network, "lenet300", 10, (1, 28, 28), PREPROCESSING)
    config = resolve_network(
        CompressConfig(k=8, distill=MethodChoice("ipkd")),
        wrapped,
        ImageExamples(digits, PREPROCESSING),
        lambda text: None,
    )
    assert config.levels == (8,) and config.sharing.name == "straight-through"
    assert str(config.distill) == "ipkd:temperature=1,weight=0.8"


class Unguided(TrainingSetup):
    """A training in which the largest sub-model that learns is the only teacher of all others."""

    def objective(self, penalties: Mapping[str, Regularizer]) -> Objective:
        return replace(super().objective(penalties), teacher=None)


def test_under_the_original_as_guide_sub_models_stay_nearer_to_it(digits: Dataset) -> None:
    """Mean KL(original ∥ sub-model) on test images, after the same training with and without the guide.

    The largest that learns at every seed, and all of them on the average: one run tells little of the coarse levels.
    """
    x, distances = torch.from_numpy(PREPROCESSING.apply(digits.test.x)), []
    for seed in range(3):
        network = trained(digits, seed)
        guided = session(network, digits, distill="ta-m", lr=0.05)
        assert guided.objective({}).teacher is guided.original
        selection = select_layers(network, "all", 4, {})
        for at in (guided, Unguided(**{f.name: getattr(guided, f.name) for f in fields(TrainingSetup)})):
            ladder, _ = fine_tune_ladder(copy.deepcopy(network), selection, at)
            with torch.no_grad():
                original = guided.original(x)
                distances.append([float(Lesson(1.0, 1.0).distance(z, original)) for z in ladder.eval().forward_all(x)])
    near, far = np.array(distances[::2]), np.array(distances[1::2])  # (seeds, sub-models), the largest last
    assert (near[:, -1] < 0.95 * far[:, -1]).all(), distances
    assert near.mean() < far.mean(), distances
