"""What the methods are for: weights that a regularizer has gathered lose less when they are shared."""

import copy
from dataclasses import replace

import click
import numpy as np
import pytest
import torch

from qacomp.batches.images import ImageExamples
from qacomp.datasets import Dataset
from qacomp.evaluation.accuracy import torch_accuracy
from qacomp.models import create_model, model_info
from qacomp.models.weight_places import split_name
from qacomp.options.config import CompressConfig
from qacomp.options.method import MethodChoice
from qacomp.progress import SilentProgress
from qacomp.sharing.selection import Selection
from qacomp.sources.network import Network
from qacomp.sources.torch_weights import select_layers
from qacomp.stages.resolve import resolve_network
from qacomp.training.device import choose_precision
from qacomp.training.fine_tune import fine_tune, tune_shared
from qacomp.training.loop import Stage, TrainingHooks, parameter_groups, train
from qacomp.training.objective import Objective
from qacomp.training.parametrizations.shared import share_weight, shared_tensor, unshare
from qacomp.training.setup import TrainingSetup
from qacomp.training.share_network import recentred, share_network
from qacomp.training.teaching import Lesson

CPU = torch.device("cpu")
PREPROCESSING = model_info("lenet300").preprocessing


@pytest.fixture(scope="module")
def network(digits: Dataset) -> torch.nn.Module:
    torch.manual_seed(0)
    model = create_model("lenet300")
    optimizer = torch.optim.SGD(parameter_groups(model, 0.05, 1e-4), momentum=0.9)
    stage = Stage("train", 15, 64, 0, "none", CPU)
    data, hooks = ImageExamples(digits, PREPROCESSING), TrainingHooks(SilentProgress())
    train(model, data, stage, Objective(), optimizer, hooks)
    return model


def shared_accuracy(
    model: torch.nn.Module, digits: Dataset, reg: str, k: int, tune: bool = False, sharing: str = "after"
) -> float:
    """Test accuracy right after sharing (or after tuning too), having fine-tuned with `reg`."""
    model = copy.deepcopy(model)
    epochs = 20 if reg != "none" or sharing != "after" else 0
    config = CompressConfig(reg=MethodChoice(reg), k=k, epochs=epochs, tune_epochs=5, precision="fp32")
    config = replace(config, sharing=MethodChoice(sharing))
    wrapped = Network(model, "lenet300", 10, (1, 28, 28), PREPROCESSING)
    config = resolve_network(config, wrapped, ImageExamples(digits, PREPROCESSING), lambda text: None)
    selection = select_layers(model, "all", k, {})
    session = TrainingSetup(config, ImageExamples(digits, PREPROCESSING), model, CPU, SilentProgress())
    penalties = fine_tune(model, selection, session)[0] if config.epochs else {}
    share_network(model, selection, penalties, lambda text: None)
    if tune:
        tune_shared(model, session)
    return noisy_accuracy(model, digits)


def noisy_accuracy(model: torch.nn.Module, digits: Dataset) -> float:
    """Mean accuracy over five noisy copies of the test images: 1,795 of them tell more than 359 clean ones."""
    x, rng = PREPROCESSING.apply(digits.test.x), np.random.default_rng(0)
    copies = [(x + rng.normal(size=x.shape)).astype(np.float32) for _ in range(5)]
    return float(np.mean([torch_accuracy(model, noisy, digits.test.y) for noisy in copies]))


@pytest.mark.parametrize("reg", ["sin", "cos", "min", "exp"])
def test_sharing_after_a_regularizer_beats_kmeans_of_the_plain_network(
    network: torch.nn.Module, digits: Dataset, reg: str
) -> None:
    """The paper's claim (section III-D), at two shared values a layer, by a margin."""
    plain = shared_accuracy(network, digits, "none", 2)
    regularized = shared_accuracy(network, digits, reg, 2)
    assert regularized > plain + 1.0, (plain, regularized)


def test_cumulative_tuning_repairs_a_coarse_sharing(network: torch.nn.Module, digits: Dataset) -> None:
    before = shared_accuracy(network, digits, "none", 2)
    after = shared_accuracy(network, digits, "none", 2, tune=True)
    assert after > before + 1.0, (before, after)


def select(model: torch.nn.Module, k: int) -> Selection:
    return select_layers(model, "all", k, {})


def test_tuning_moves_the_shared_values_and_leaves_the_clusters(network: torch.nn.Module, digits: Dataset) -> None:
    model = copy.deepcopy(network)
    share_network(model, select(model, 2), {}, lambda text: None)
    before = {n: shared_tensor(*split_name(model, n)) for n in ("fc1.weight", "fc2.weight", "fc3.weight")}
    config = CompressConfig(tune_epochs=2, precision="fp32", augment="none")
    tune_shared(model, TrainingSetup(config, ImageExamples(digits, PREPROCESSING), model, CPU, SilentProgress()))
    for name, old in before.items():
        new = shared_tensor(*split_name(model, name))
        assert np.array_equal(new.indices, old.indices)
        assert not np.array_equal(new.codebook, old.codebook), name
        owner, leaf = split_name(model, name)
        assert len(np.unique(getattr(owner, leaf).detach().numpy())) <= 2


def test_the_gradient_of_a_shared_value_is_the_sum_over_its_cluster() -> None:
    layer = torch.nn.Linear(6, 5, bias=False).double()
    indices = np.random.default_rng(0).integers(0, 3, (5, 6))
    share_weight(layer, "weight", np.array([-1.0, 0.5, 2.0]), indices)
    x = torch.randn(7, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.autograd.backward(layer(x).square().sum())
    codebook = layer.get_parameter("parametrizations.weight.original")
    weight = torch.tensor([-1.0, 0.5, 2.0], dtype=torch.float64)[torch.from_numpy(indices)].requires_grad_()
    (dense,) = torch.autograd.grad((x @ weight.T).square().sum(), weight)
    expected = [dense[torch.from_numpy(indices == i)].sum().item() for i in range(3)]
    assert codebook.grad is not None
    np.testing.assert_allclose(codebook.grad.numpy(), expected)


def test_unsharing_keeps_the_values() -> None:
    layer = torch.nn.Linear(4, 3)
    share_weight(layer, "weight", np.array([0.25, 1.5], np.float32), np.arange(12).reshape(3, 4) % 2)
    kept = layer.weight.detach().clone()
    unshare(layer, "weight")
    assert torch.equal(layer.weight, kept) and isinstance(layer.weight, torch.nn.Parameter)


def test_recentred_drops_unused_representatives_and_takes_means() -> None:
    weights = np.array([[1.0, 3.0], [10.0, 20.0]], np.float32)
    codebook, indices = recentred(weights, np.array([[1, 1], [4, 4]], np.uint8))
    assert codebook.tolist() == [2.0, 15.0]
    assert indices.tolist() == [[0, 0], [1, 1]] and indices.dtype == np.uint8


def test_training_is_the_same_twice_and_resumes_the_same(digits: Dataset) -> None:
    def run() -> list[torch.Tensor]:
        torch.manual_seed(1)
        model = create_model("lenet300")
        optimizer = torch.optim.SGD(parameter_groups(model, 0.05, 1e-4), momentum=0.9)
        stage = Stage("train", 2, 64, 3, "none", CPU)
        train(
            model, ImageExamples(digits, PREPROCESSING), stage, Objective(), optimizer, TrainingHooks(SilentProgress())
        )
        return [p.detach() for p in model.parameters()]

    for a, b in zip(run(), run(), strict=True):
        assert torch.equal(a, b)


def test_distillation_is_the_textbook_loss() -> None:
    """(1 − α)·CE + α·τ²·KL(teacher ∥ student), written out in float64 (Hinton et al., 2015)."""
    generator = torch.Generator().manual_seed(0)
    teacher, student = (torch.nn.Linear(5, 4) for _ in range(2))
    x, y = torch.randn(6, 5, generator=generator), torch.tensor([0, 1, 2, 3, 0, 1])
    objective = Objective(teacher=teacher, lesson=Lesson(0.3, 4.0))
    z, t = (m(x).detach().double().numpy() for m in (student, teacher))

    def softmax(v: np.ndarray) -> np.ndarray:
        e = np.exp(v - v.max(axis=1, keepdims=True))
        return np.asarray(e / e.sum(axis=1, keepdims=True))

    cross_entropy = -np.log(softmax(z)[np.arange(6), y.numpy()]).mean()
    p, q = softmax(t / 4), softmax(z / 4)
    divergence = (p * np.log(p / q)).sum(axis=1).mean()
    expected = 0.7 * cross_entropy + 0.3 * 16 * divergence
    loss = objective.task_loss(student, x, y)
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    torch.autograd.backward(loss)
    assert teacher.weight.grad is None  # the teacher's logits are constants


def test_automatic_precision_is_one_that_exists() -> None:
    assert choose_precision("auto", CPU) in ("fp32", "bf16")
    assert choose_precision("fp32", CPU) == "fp32"


def test_straight_through_sharing_beats_kmeans_before_any_tuning(network: torch.nn.Module, digits: Dataset) -> None:
    plain = shared_accuracy(network, digits, "none", 2)
    learned = shared_accuracy(network, digits, "none", 2, sharing="straight-through")
    assert learned > plain + 2.0, (plain, learned)


def test_every_flag_of_compress_is_a_setting_and_the_other_way_round() -> None:
    from dataclasses import fields

    from qacomp.cli.compress import compress_command

    flags = {
        parameter.name for parameter in compress_command.get_params(click.Context(compress_command))[:-1]
    }  # without --help
    settings = {field.name for field in fields(CompressConfig)} - {
        "k_layers",
        "bits_layers",
        "strength_layers",
    }  # --k conv1=16
    files = {"checkpoint", "base", "output", "config_file", "report", "snapshots", "loss_fn"}
    how = {"workers", "part", "shard_size"}  # where the work is done, and in how many files; no value changes
    assert flags - settings == files | how | {"trust_pickle", "force", "as_json", "debug", "schema", "strict"}
    assert settings <= flags
