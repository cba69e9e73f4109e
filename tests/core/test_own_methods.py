"""What trains, trains on data of one's own: pruning, levels, quantizers, by rate, and sweeps by one's own metric."""

from pathlib import Path
from typing import Any

import own_networks as own
import pytest
import torch

import qacomp
from qacomp.errors import ConfigError
from qacomp.evaluation.metrics import Measure
from qacomp.gating.release import stated_figure
from qacomp.options.config import CompressConfig
from qacomp.sources.how_to_read import Reading
from qacomp.sources.open_any import open_source
from qacomp.sweeping.changed import changed_loss

FAST: dict[str, Any] = {"epochs": 1, "tune_epochs": 0, "min_size": 32}
PRUNED: dict[str, Any] = {**FAST, "epochs": 0}
MASKED: dict[str, Any] = {"loss_fn": own.mask_loss, "metric": own.dice}


def test_weights_of_a_regression_are_pruned_by_magnitude() -> None:
    result = qacomp.compress(own.Regression(), own.diabetes(), k=8, prune="magnitude:rate=0.5,epochs=2", **PRUNED)
    assert result.pruning is not None and result.pruning.kept_share < 0.6
    assert result.metric is not None and result.metric.name == "mse"
    weight = qacomp.decode(result)["layers.0.weight"]
    assert float((weight == 0).float().mean()) > 0.4 or weight.shape[0] < 48


def test_states_evolve_by_class_scores_and_nothing_else() -> None:
    result = qacomp.compress(own.DigitsCNN(), own.digits(), k=8, prune="energy:epochs=2,rate=0.5", **PRUNED)
    assert result.pruning is not None and len(result.pruning.search) == 2
    with pytest.raises(ConfigError, match="class"):
        qacomp.compress(own.Regression(), own.diabetes(), k=8, prune="energy:epochs=1", **PRUNED)


def test_states_of_a_regression_evolve_by_its_loss() -> None:
    torch.manual_seed(0)
    prune = "energy:epochs=2,objective=loss,rate=0.4,population=4"
    result = qacomp.compress(own.Regression(), own.diabetes(), k=8, prune=prune, **PRUNED)
    assert result.pruning is not None and result.pruning.full is None and 0.5 < result.pruning.kept_share < 0.65
    best = [epoch.best for epoch in result.pruning.search]
    assert len(best) == 2 and all(0 < loss < 3 for loss in best)


def test_levels_of_a_network_with_two_inputs() -> None:
    result = qacomp.compress(own.TwoInputs(), own.pairs(), levels=(4, 16), **FAST)
    coarse = qacomp.decode(result, part=qacomp.Part(level=4))
    assert all(len(torch.unique(coarse[layer.name])) <= 4 for layer in result.layers if layer.k)


def test_a_segmentation_is_quantized() -> None:
    result = qacomp.compress(own.UNet(), own.squares(), quantizer="dorefa", bits=4, **FAST, **MASKED)
    assert result.metric is not None and 0 < result.metric.decoded < 1 and result.history[0].metric == "dice"


def test_a_segmentation_is_shared_by_rate() -> None:
    torch.manual_seed(0)
    result = qacomp.compress(own.UNet(), own.squares(), sharing="rate", quality="small", min_size=32, **MASKED)
    assert result.metric is not None and result.metric.name == "dice" and 0 <= result.metric.decoded <= 1
    assert result.ratio > 2 and result.max_abs_error is not None and result.max_abs_error < 1e-3


def test_other_weights_are_measured_by_ones_own_metric(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net, path = own.UNet(), tmp_path / "u.pt"
    torch.save(net.state_dict(), path)
    named: dict[str, Any] = {"arch": "own_networks:UNet", "data": "own_networks:squares", "metric": "own_networks:dice"}
    source, config, data = open_source(path, None, CompressConfig(**named), Reading(), lambda text: None)
    loss = changed_loss(source, config, data, "own_networks:mask_loss")
    name, found = loss({name: value.detach().numpy() for name, value in net.named_parameters() if value.ndim > 1})
    assert name == "own_networks:dice, how much worse" and found == 0


def test_less_is_better_where_the_metric_says_so() -> None:
    measure = Measure("my:error", 1.0, 3.0, 10, higher=False)
    assert measure.lost == 2.0 and measure.to_json()["higher_is_better"] is False
    assert stated_figure({"metric": measure.to_json()}).drop == 2.0
    assert Measure("my:score", 3.0, 1.0, 10).lost == 2.0
    assert "higher_is_better" not in Measure("mse", 1.0, 2.0, 10).to_json()
