"""`qacomp train`: random weights learn under a regularizer, a quantizer or pruning, and compress shares them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import qacomp
from qacomp.checkpoints import read_checkpoint
from qacomp.errors import ConfigError
from qacomp.evaluate import measure_file
from qacomp.options.config import CompressConfig
from qacomp.options.from_scratch import scratch_config
from qacomp.progress import SilentProgress
from qacomp.sharing.kmeans import kmeans
from qacomp.stages.from_scratch import TrainedCheckpoint, train_network
from qacomp.training.quantizers import QuantizedActivation

CNN = {"arch": "own_networks:DigitsCNN", "data": "own_networks:digits", "precision": "fp32", "min_size": 32}
PLAIN = {"epochs": 0, "tune_epochs": 0, "sharing": "after", "rounding": "nearest", "stored_precision": "exact"}


def trained(path: Path, **settings: Any) -> TrainedCheckpoint:
    return train_network(scratch_config({**CNN, "epochs": 6, **settings}), path, SilentProgress())


def shared(path: Path, **settings: Any) -> qacomp.Result:
    """The checkpoint after k-means, without any training."""
    own_network = {name: CNN[name] for name in ("arch", "data", "min_size")}
    return qacomp.compress(path, **{**own_network, **PLAIN, **settings})


def weights(path: Path) -> dict[str, torch.Tensor]:
    return {name: value for name, value in read_checkpoint(path).state.items() if value.ndim > 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scratch")


@pytest.fixture(scope="module")
def plain(folder: Path) -> Path:
    trained(folder / "plain.pt")
    return folder / "plain.pt"


def test_weights_gather_under_a_regularizer_from_the_start(folder: Path) -> None:
    lenet = {"arch": "own_networks:LeNet", "data": "own_networks:more_digits", "epochs": 12}
    plain, found = trained(folder / "l.pt", **lenet), trained(folder / "exp.pt", reg="exp", k=4, **lenet)
    assert [record.stage for record in found.history] == ["fine-tune"] * 12 and found.history[-1].penalty > 0
    spread = [np.mean([clustered(w, 4) for w in weights(one.output).values()]) for one in (plain, found)]
    assert spread[1] < 0.9 * spread[0]
    assert plain.accuracy is not None and found.accuracy is not None and min(plain.accuracy, found.accuracy) > 75


def clustered(weight: torch.Tensor, k: int) -> float:
    """The root mean square distance to the nearest of k means, relative to the standard deviation."""
    values = weight.numpy().reshape(-1).astype(np.float64)
    centres = kmeans(values, k).codebook
    return float(np.sqrt((np.abs(values[:, None] - centres).min(1) ** 2).mean()) / values.std())


def test_shared_values_of_the_forward_pass_are_found_again(folder: Path) -> None:
    path = trained(folder / "st.pt", reg="exp", k=4, sharing="straight-through").output
    assert all(len(torch.unique(w)) <= 4 for w in weights(path).values())
    result = shared(path, k=4)
    assert result.accuracy.decoded == result.accuracy.original
    decoded = qacomp.decode(result)
    assert all(torch.equal(decoded[name], w) for name, w in weights(path).items())


@pytest.mark.parametrize("name", ["dorefa", "wrpn"])
def test_quantized_weights_lie_on_the_grid_and_stay_there(folder: Path, name: str) -> None:
    found = trained(folder / f"{name}.pt", quantizer=name, bits=3, reg="sinreq")
    assert found.accuracy is not None and found.accuracy > 80
    for weight in weights(found.output).values():
        levels = torch.unique(weight).double()
        steps = (levels - levels[0]) / torch.diff(levels).min()
        assert len(levels) <= 8 and torch.allclose(steps, steps.round(), atol=1e-3)


def test_quantized_activations_stay_quantized(folder: Path) -> None:
    path = trained(folder / "act.pt", quantizer="dorefa:activations=3", bits=4, epochs=4).output
    assert read_checkpoint(path).activations == 3
    config = CompressConfig(arch="own_networks:DigitsCNN", data="own_networks:digits")
    assert measure_file(path, config).accuracy == torch.load(path, weights_only=True)["qacomp"]["extra"]["accuracy"]
    result = shared(path, k=16)
    assert result.accuracy.decoded == result.accuracy.original
    assert "Round" in {node.op_type for node in result.to_onnx().graph.node}
    assert QuantizedActivation(3)(torch.tensor(0.3)) == pytest.approx(2 / 7)


def test_weights_pruned_by_magnitude_are_zeros_and_stay_zeros(folder: Path) -> None:
    found = trained(folder / "magnitude.pt", prune="magnitude:rate=0.8", reg="exp", k=4)
    assert {record.stage for record in found.history} == {"prune", "fine-tune"}
    zeros = {name: w == 0 for name, w in weights(found.output).items()}
    assert sum(int(z.sum()) for z in zeros.values()) / sum(z.numel() for z in zeros.values()) == pytest.approx(
        0.8, abs=0.02
    )


def test_a_state_that_evolved_from_the_start_is_removed_from_the_graph(folder: Path) -> None:
    found = trained(folder / "energy.pt", prune="energy:rate=0.5")
    assert found.pruning is not None and 0.4 < float(found.pruning["kept_share"]) < 0.55
    assert found.accuracy is not None and found.accuracy > 80
    assert found.pruning["pruned"]["top1"] == pytest.approx(found.accuracy)
    assert found.pruning["full"]["loss"] != found.pruning["pruned"]["loss"]  # of the network with all its filters
    result = shared(found.output, k=16)
    size = sum(np.prod(tensor.dims) for tensor in result.to_onnx().graph.initializer)
    assert size < 0.65 * found.parameters
    assert (
        result.accuracy.original == found.accuracy and result.max_abs_error is not None and result.max_abs_error < 1e-4
    )


def test_a_file_names_a_network_of_ones_own_and_imports_nothing(plain: Path) -> None:
    read = read_checkpoint(plain)
    assert read.arch is None and read.notes == ("trained as --arch own_networks:DigitsCNN",)
    kept = torch.load(plain, weights_only=True)["qacomp"]["extra"]
    assert len(kept["history"]) == 6 and kept["history"][0]["loss"] > kept["history"][-1]["loss"]


def test_other_tasks_are_trained_and_measured(folder: Path) -> None:
    settings = {"arch": "own_networks:Regression", "data": "own_networks:diabetes", "epochs": 2}
    found = train_network(scratch_config(settings), folder / "reg.pt", SilentProgress())
    assert found.metric == "mse" and found.accuracy is None and found.value is not None and 0 < found.value < 2


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"k": 8}, "--k: has no effect without --reg"),
        ({"sharing": "rate"}, "is a way of compress"),
        ({"epochs": 0}, "nothing would be trained"),
        ({"distill": "kd"}, "has no sub-models"),
        ({"target_size": "10KB"}, "is a setting of compress"),
        ({"strength": 1.0}, "--strength: has no effect"),
        ({"prune": "energy:epochs=0"}, "leave out epochs=0"),
    ],
)
def test_what_has_no_effect_is_refused(settings: dict[str, Any], text: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=text):
        trained(tmp_path / "x.pt", **settings)
    assert not list(tmp_path.iterdir())


def test_equal_seeds_give_equal_bytes(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.pt" for number in range(2)]
    for path in paths:
        trained(path, epochs=1, reg="exp", k=4, seed=1)
    assert paths[0].read_bytes() == paths[1].read_bytes()
