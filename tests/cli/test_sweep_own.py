"""`qacomp sweep` on a network, data, loss and metric of your own: trials, going on, and the metric's direction."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import own_networks
import pytest
import torch

import qacomp
from qacomp.graphs import known_graphs
from qacomp.graphs.network import export_dense

Qacomp = Callable[..., Any]
NAMED = ("--arch", "own_networks:Regression", "--data", "own_networks:diabetes")
OWN = (*NAMED, "--loss-fn", "own_networks:absolute_loss")
METRIC = ("--metric", "own_networks:furthest")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first half of its training, so that trials with epochs find something better."""
    path = tmp_path_factory.mktemp("own") / "net.pt"
    trained = qacomp.train(own_networks.Regression, own_networks.diabetes(), path, epochs=2, seed=1)
    assert trained.metric == "mse"
    return path


@pytest.fixture(autouse=True)
def one_export(monkeypatch: pytest.MonkeyPatch) -> None:
    """Export the network once: its graph takes the weights as inputs, so every trial's is the same."""
    exported: list[onnx.ModelProto] = []

    def once(*given: Any, **how: Any) -> onnx.ModelProto:
        exported.extend([] if exported else [export_dense(*given, **how)])
        copy: onnx.ModelProto = onnx.ModelProto.FromString(exported[0].SerializeToString())
        return copy

    monkeypatch.setattr(known_graphs, "export_dense", once)


def value(file: Path, metric: Callable[..., float]) -> float:
    """The metric of a container's weights on the test part, by torch alone."""
    network = own_networks.Regression()
    network.load_state_dict(qacomp.decode(file))
    data = own_networks.diabetes()
    with torch.no_grad():
        outputs = network(torch.tensor(data["x_test"]).float())
    return metric(outputs, torch.tensor(data["y_test"]).float())


def test_trials_go_on_and_the_metric_counts_in_its_direction(qacomp: Qacomp, model: Path, tmp_path: Path) -> None:
    folder, config = tmp_path / "s", tmp_path / "run.toml"
    config.write_text("min_size = 32\n")
    flags = (*OWN, *METRIC, "--config", config, "--k", "2,16", "-o", folder, "--json")
    first = qacomp("sweep", model, *flags, "--trials", "1")
    assert first.code == 0 and first.json["states"]["waiting"] == 1, first.err
    second = qacomp("sweep", model, *flags, "--trials", "5")
    assert second.code == 0 and "all 2 combinations are tried" in second.err
    points = second.json["points"]
    assert points[0] == first.json["points"][0] | {"file": points[0]["file"]} and len(points) == 2
    assert second.json["measure"] == "own_networks:furthest, how much worse"
    original = value_of_checkpoint(model)
    for point in second.json["front"]:
        found = value(Path(point["file"]), own_networks.furthest)
        assert point["loss"] == pytest.approx(found - original, abs=1e-3)  # a larger error is a loss
    coarse, fine = sorted(points, key=lambda point: int(point["settings"]["k"]))
    assert coarse["bytes"] < fine["bytes"]
    (peer,) = second.json["peers"]
    assert abs(peer["loss"]) < abs(coarse["loss"])
    shown = qacomp("sweep", "--show", folder)
    assert shown.code == 0 and "loss: own_networks:furthest, how much worse" in shown.out
    other = qacomp("sweep", model, *NAMED, *METRIC, "--config", config, "-o", folder, "--trials", "1")
    assert other.code == 1 and "was made with --loss-fn own_networks:absolute_loss; give the same" in other.err


def value_of_checkpoint(path: Path) -> float:
    network = own_networks.Regression()
    network.load_state_dict(qacomp.read_checkpoint(path).state)
    data = own_networks.diabetes()
    with torch.no_grad():
        outputs = network(torch.tensor(data["x_test"]).float())
    return own_networks.furthest(outputs, torch.tensor(data["y_test"]).float())


def test_the_loss_of_ones_own_trains_each_trial(qacomp: Qacomp, model: Path, tmp_path: Path) -> None:
    flags = ("--vary", "epochs=1,4", "--trials", "2", "-o", tmp_path / "s", "--json")
    (tmp_path / "run.toml").write_text('min_size = 32\nreg = "exp"\nk = 16\ntune_epochs = 0\n')
    done = qacomp("sweep", model, *OWN, "--config", tmp_path / "run.toml", *flags)
    assert done.code == 0, done.err
    assert done.json["measure"] == "mse, how much worse"
    short, long = sorted(done.json["points"], key=lambda point: int(point["settings"]["epochs"]))
    assert long["loss"] < short["loss"] < 0  # less of the squared error than before, and counted as a gain
