"""What pruning is for: zeros that stay exact, a network that is really smaller, accuracy that training brings back."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from qacomp.api import compress
from qacomp.batches.images import ImageExamples
from qacomp.checkpoints import CheckpointFacts, read_checkpoint, write_checkpoint
from qacomp.datasets import Dataset
from qacomp.errors import ConfigError
from qacomp.evaluation.accuracy import onnx_logits, torch_accuracy
from qacomp.formats import open_file
from qacomp.graphs.network import export_dense
from qacomp.models import create_model, model_info
from qacomp.options.config import CompressConfig
from qacomp.progress import SilentProgress
from qacomp.result import Result
from qacomp.sharing.zero_entry import with_masked_zero
from qacomp.sources.network import Network
from qacomp.stages.resolve import resolve_network
from qacomp.training.loop import Stage, TrainingHooks, parameter_groups, train
from qacomp.training.objective import Objective
from qacomp.training.pruning.channels import trace_channels
from qacomp.training.pruning.counting import ParameterCount
from qacomp.training.pruning.keep_rate import uniform_share
from qacomp.training.pruning.magnitude import pruned_share, unit_magnitudes, weight_masks
from qacomp.training.pruning.removal import clear_dead, not_removable, remove_dead
from qacomp.training.pruning.report import kept_parameters
from qacomp.training.pruning.stage import Pruned, prune
from qacomp.training.pruning.units import Units, apply_masks, find_units, parameter_masks
from qacomp.training.setup import TrainingSetup

CPU = torch.device("cpu")
INFO = model_info("lenet300")


@pytest.fixture(scope="module")
def network(digits: Dataset) -> nn.Module:
    torch.manual_seed(0)
    model = create_model("lenet300")
    optimizer = torch.optim.SGD(parameter_groups(model, 0.05, 1e-4), momentum=0.9)
    stage = Stage("train", 15, 64, 0, "none", CPU)
    train(
        model, ImageExamples(digits, INFO.preprocessing), stage, Objective(), optimizer, TrainingHooks(SilentProgress())
    )
    return model


def units_of(name: str, model: nn.Module) -> Units:
    return find_units(trace_channels(model, model_info(name).input_shape))


def pruned(network: nn.Module, digits: Dataset, **settings: object) -> tuple[nn.Module, Pruned]:
    model = copy.deepcopy(network)
    config = CompressConfig(precision="fp32").with_settings(settings, "test").check()
    wrapped = Network(model, "lenet300", 10, (1, 28, 28), INFO.preprocessing)
    config = resolve_network(config, wrapped, ImageExamples(digits, INFO.preprocessing), lambda text: None)
    session = TrainingSetup(config, ImageExamples(digits, INFO.preprocessing), network, CPU, SilentProgress())
    return model, prune(model, (1, 28, 28), config, session, lambda text: None)


def accuracy(model: nn.Module, digits: Dataset) -> float:
    return torch_accuracy(model, INFO.preprocessing.apply(digits.test.x), digits.test.y)


@pytest.mark.parametrize("name", ["lenet5", "resnet20", "resnet18", "squeezenet", "alexnet"])
def test_a_network_without_its_dead_units_gives_the_same(name: str) -> None:
    torch.manual_seed(0)
    model = create_model(name).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
            nn.init.normal_(module.running_mean)  # type: ignore[arg-type]
    units = units_of(name, model)
    state = (np.random.default_rng(0).random(units.count) < 0.5) | ~units.free
    counted = int(ParameterCount(model, units)(state[None])[0])
    apply_masks(model, parameter_masks(model, units, state))
    x = torch.randn(3, *model_info(name).input_shape)
    before, size = model(x), sum(p.numel() for p in model.parameters())
    assert kept_parameters(model, units)[0] == pytest.approx(counted, abs=2)  # a random weight may be zero itself
    clear_dead(model, units)
    rows = remove_dead(model, units)
    assert (model(x) - before).abs().max() <= 1e-4 * before.abs().max()
    left = sum(p.numel() for p in model.parameters())
    assert counted - 2 <= left < 0.6 * size
    assert kept_parameters(model, units_of(name, model))[0] == pytest.approx(counted, abs=2)  # nothing alive is gone
    stays = not_removable(rows, units.graph)
    assert (stays is None) == (abs(counted - left) <= 2)
    channels = [m.out_channels for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert all(c % 4 == 0 for c in channels if c >= 16)
    if name.startswith("resnet"):
        assert stays is not None and "added to a channel in use" in stays


def test_the_exported_onnx_is_smaller_and_equal() -> None:
    torch.manual_seed(0)
    model = create_model("lenet5").eval()
    units = units_of("lenet5", model)
    x = np.random.default_rng(0).normal(size=(4, 1, 28, 28)).astype(np.float32)
    whole = export_dense(model, (1, 28, 28)).ByteSize()
    scores = unit_magnitudes(model, units, "layer")
    state = uniform_share(ParameterCount(model, units), scores, 0.25)
    apply_masks(model, parameter_masks(model, units, state))
    masked = model(torch.from_numpy(x)).detach().numpy()
    remove_dead(model, units)
    exported = export_dense(model, (1, 28, 28))
    assert exported.ByteSize() < 0.6 * whole
    np.testing.assert_allclose(onnx_logits(exported, x), masked, atol=1e-4)


def test_a_whole_layer_of_zeros_leaves_one_channel() -> None:
    model = create_model("lenet5").eval()
    units = units_of("lenet5", model)
    with torch.no_grad():
        model.get_parameter("conv2.weight").zero_()
        model.get_parameter("conv2.bias").zero_()
        model.get_parameter("fc1.bias").fill_(0.5)
    x = torch.randn(2, 1, 28, 28)
    before = model(x)
    remove_dead(model, units)
    assert model.get_parameter("conv2.weight").shape == (1, 1, 5, 5)  # nobody reads conv1 any more
    assert model.get_parameter("fc1.weight").shape == (500, 16)
    torch.testing.assert_close(model(x), before)


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_magnitude_keeps_the_largest_weights(scope: str) -> None:
    torch.manual_seed(0)
    model = create_model("lenet300")
    units = units_of("lenet300", model)
    masks = weight_masks(model, units, 0.9, scope)
    weights = {n: model.get_parameter(n).detach().abs() for n in masks if n.endswith("weight")}
    kept = sum(int(masks[n].sum()) for n in weights)
    assert kept == pytest.approx(0.1 * sum(w.numel() for w in weights.values()), abs=3)
    for name, weight in weights.items():
        assert weight[masks[name]].min() > weight[~masks[name]].max()
        if scope == "layer":
            assert masks[name].float().mean().item() == pytest.approx(0.1, abs=0.001)
    if scope == "global":
        smallest = min(weight[masks[name]].min() for name, weight in weights.items())
        assert all(smallest >= weight[~masks[name]].max() for name, weight in weights.items())


def test_the_schedule_is_cubic_and_ends_at_the_rate() -> None:
    shares = [pruned_share(0.9, p) for p in (0.0, 0.3, 0.6, 1.0)]
    assert shares == pytest.approx([0.0, 0.9 * (1 - 0.5**3), 0.9, 0.9])


def test_retraining_brings_back_what_magnitude_pruning_cost(network: nn.Module, digits: Dataset) -> None:
    cut, _ = pruned(network, digits, prune="magnitude:rate=0.97,epochs=0", lr=0.02)
    retrained, result = pruned(network, digits, prune="magnitude:rate=0.97,epochs=20", lr=0.02)
    assert accuracy(retrained, digits) > accuracy(cut, digits) + 5
    assert accuracy(retrained, digits) > accuracy(network, digits) - 4
    weights = sum(layer.weights for layer in result.report.layers)
    assert sum(layer.kept for layer in result.report.layers) <= 0.0301 * weights
    assert result.report.parameters_left < 266_610  # pixels that are always black have neurons that read nothing


def test_energy_pruning_meets_the_rate_and_fine_tunes_the_frozen_state(network: nn.Module, digits: Dataset) -> None:
    model, result = pruned(network, digits, prune="energy:stagnation=4,rate=0.5,epochs=10")
    report = result.report
    assert report.kept_share == pytest.approx(0.5, abs=0.01)
    assert report.frozen_after == 4 and [e.frozen for e in report.search] == [False] * 4 + [True] * 6
    assert all(e.best <= e.mean for e in report.search if e.mean is not None)
    assert report.search[3].best < report.search[0].best  # lower energies are found
    assert len({e.best for e in report.search[4:]}) == 6  # the frozen state is scored on, while its weights train
    assert report.search[9].best < report.search[4].best - 0.1, [e.best for e in report.search]
    assert report.full is not None and report.pruned is not None
    assert report.pruned.top1 == pytest.approx(accuracy(model, digits))
    assert report.full.loss != report.pruned.loss and report.full.top1 > report.pruned.top1 - 3
    assert report.pruned.top1 < report.pruned.top3 <= report.pruned.top5 <= 100 and 0 < report.pruned.loss < 1
    assert accuracy(model, digits) > accuracy(network, digits) - 3
    assert report.parameters_left < 0.75 * report.parameters


def test_with_zero_gives_masked_weights_their_own_entry() -> None:
    codebook, mask = np.array([-1.0, 0.5, 2.0], np.float32), np.array([[True, False], [True, False]])
    book, indices, zero = with_masked_zero(codebook, np.array([[0, 0], [2, 1]], np.uint8), mask)
    assert book.tolist() == [-1.0, 0.0, 2.0] and zero == 1  # 0.5 served masked weights alone
    assert book[indices].tolist() == [[-1.0, 0.0], [2.0, 0.0]]


def run(tmp_path: Path, network: nn.Module, digits: Dataset, **settings: object) -> tuple[Result, Path]:
    source, target = tmp_path / "net.pt", tmp_path / "net.qac"
    state = network.state_dict()
    write_checkpoint(source, state, CheckpointFacts("lenet300", 10, INFO.preprocessing, "digits"))
    config = CompressConfig(precision="fp32", data="digits").with_settings(settings, "test").check()
    return compress(read_checkpoint(source), digits, config, target), target


@pytest.mark.parametrize(
    "settings",
    [
        {"prune": "magnitude:scope=global,rate=0.9,epochs=4", "tune_epochs": 3},
        {"reg": "exp", "epochs": 3, "tune_epochs": 1},
        {"reg": "min", "epochs": 3, "sharing": "after", "tune_epochs": 1},
        {
            "prune": "magnitude:unit=filter,rate=0.6,epochs=4",
            "reg": "none",
            "sharing": "straight-through",
            "epochs": 2,
        },
    ],
)
def test_zeros_stay_exact_through_sharing_and_tuning(
    network: nn.Module, digits: Dataset, tmp_path: Path, settings: dict[str, object]
) -> None:
    base: dict[str, object] = {"prune": "magnitude:rate=0.9,epochs=4", "k": 5, "tune_epochs": 1}
    result, path = run(tmp_path, network, digits, **(base | settings))
    assert result.pruning is not None and result.accuracy.decoded is not None
    assert result.accuracy.decoded > 85
    assert result.max_abs_error is not None and result.max_abs_error < 1e-4
    with open_file(path) as container:
        for layer in result.pruning.layers:
            weight = container.tensor(layer.name)
            assert weight.size == layer.left
            assert np.count_nonzero(weight) == layer.kept
            assert len(np.unique(weight)) <= 5
    rows = {row.name: row for row in result.layers}
    for layer in result.pruning.layers:
        p = layer.kept / layer.left  # at most four values beside the zero
        entropy = np.log2(5) if p == 1 else -(p * np.log2(p / 4) + (1 - p) * np.log2(1 - p))
        assert (rows[layer.name].entropy_bits_per_weight or 0) <= entropy + 1e-6


def test_energy_pruning_through_the_pipeline_resumes_to_the_same_bytes(
    network: nn.Module, digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"prune": "energy:stagnation=1,rate=0.5,epochs=3,population=4", "k": 8, "tune_epochs": 1}
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    _, whole = run(tmp_path / "a", network, digits, **settings)
    from qacomp.training import loop

    real, calls = loop._Loop._epoch, []

    def broken(*arguments: object) -> object:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("qacomp.training.resume._MIN_INTERVAL_S", 0.0)
    monkeypatch.setattr(loop._Loop, "_epoch", broken)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "b", network, digits, **settings)
    monkeypatch.setattr(loop._Loop, "_epoch", real)
    _, resumed = run(tmp_path / "b", network, digits, **settings)
    assert whole.read_bytes() == resumed.read_bytes()


def test_bad_settings_say_what_to_do(network: nn.Module, digits: Dataset, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--k of at least 3"):
        run(tmp_path, network, digits, prune="magnitude", k=2)
    with pytest.raises(ConfigError, match="between 0 and 1"):
        run(tmp_path, network, digits, prune="magnitude:rate=1.0")
    with pytest.raises(ConfigError, match="population = 2: must be at least 3"):
        run(tmp_path, network, digits, prune="energy:population=2")
    with pytest.raises(ConfigError, match="give --data"):
        run(tmp_path, network, digits, prune="energy:epochs=0")


def test_what_the_walk_does_not_know_stays_whole() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Sigmoid(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Flatten())
    model.append(nn.Linear(16, 2))
    units = find_units(trace_channels(model, (1, 6, 6)))
    state = np.ones(units.count, bool)
    state[[0, 4, 6]] = False  # a filter of the first layer, two of the second
    apply_masks(model, parameter_masks(model, units, state))
    x = torch.randn(2, 1, 6, 6)
    before = model(x)
    remove_dead(model, units)
    assert [m.out_channels for m in model if isinstance(m, nn.Conv2d)] == [4, 2]  # a sigmoid makes zeros 0.5
    torch.testing.assert_close(model(x), before)
    with pytest.raises(ConfigError, match="--prune none"):
        trace_channels(create_model("slimmable_mobilenet"), (3, 32, 32))


@pytest.mark.parametrize("settings", [{"reg": "exp"}, {"quantizer": "dorefa", "bits": 3, "reg": "sinreq"}])
def test_a_layer_that_is_all_pruned_has_no_levels_to_fit(
    network: nn.Module, digits: Dataset, tmp_path: Path, settings: dict[str, object]
) -> None:
    emptied = copy.deepcopy(network)
    emptied.get_parameter("fc2.weight").data.zero_()
    base: dict[str, object] = {"prune": "magnitude:unit=filter,epochs=0", "min_size": 1}
    result, path = run(tmp_path, emptied, digits, **base, epochs=1, tune_epochs=0, **settings)
    assert result.accuracy.decoded is not None and result.accuracy.decoded < 30  # constant outputs
    with open_file(path) as container:
        assert not container.tensor("fc2.weight").any()
