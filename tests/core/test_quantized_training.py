"""--quantizer from the command's settings to the container: even levels, exactly; SinReQ draws the weights to them."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from qacomp.api import compress
from qacomp.batches.images import ImageExamples
from qacomp.checkpoints import read_checkpoint
from qacomp.datasets import Dataset
from qacomp.errors import ConfigError, DataError
from qacomp.formats import open_file
from qacomp.models import model_info
from qacomp.options.config import CompressConfig
from qacomp.options.from_scratch import scratch_config
from qacomp.options.method import MethodChoice
from qacomp.progress import SilentProgress
from qacomp.result import Result
from qacomp.sources.network import Network
from qacomp.sources.torch_weights import select_layers
from qacomp.stages.from_scratch import train_network
from qacomp.stages.resolve import resolve_network
from qacomp.training.fine_tune import fine_tune
from qacomp.training.quantizers import Scale, plan_quantization, quantizer_named
from qacomp.training.regularizers import trained_weight
from qacomp.training.setup import TrainingSetup

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("quantized") / "m.pt"
    settings = {"arch": "lenet300", "data": "digits", "epochs": 10, "precision": "fp32"}
    train_network(scratch_config(settings), path, SilentProgress())
    return path


def run(checkpoint: Path, digits: Dataset | None, **settings: Any) -> Result:
    config = CompressConfig(precision="fp32", stored_precision="exact").with_settings(settings, "test")
    read = replace(read_checkpoint(checkpoint), data=None)  # the data is what is given, not what the file names
    return compress(read, digits, config, checkpoint.with_suffix(".qac"))


def codebooks(result: Result) -> dict[str, np.ndarray]:
    with open_file(result.output) as container:
        return {n: container.shared(n).codebook for n in container.names if container.info(n).k is not None}


@pytest.mark.parametrize(("name", "levels"), [("dorefa", 8), ("wrpn", 7)])
def test_the_container_holds_the_quantizers_even_levels(
    checkpoint: Path, digits: Dataset, name: str, levels: int
) -> None:
    result = run(checkpoint, digits, quantizer=name, bits=3, epochs=3)
    books = codebooks(result)
    assert set(books) == {"fc1.weight", "fc2.weight", "fc3.weight"}
    for book in books.values():
        assert 2 <= book.size <= levels
        step = np.abs(book).max() * 2 / (levels - 1)
        places = (book - book[0]) / step
        np.testing.assert_allclose(places, np.round(places), atol=1e-4)
    assert result.accuracy.decoded is not None and result.accuracy.original is not None
    assert result.accuracy.decoded > result.accuracy.original - 2
    assert result.accuracy.tuned == result.accuracy.shared  # levels stay where the quantizer has them
    assert result.max_abs_error is not None and result.max_abs_error < 1e-3


def test_without_data_the_weights_are_quantized_as_they_are(checkpoint: Path) -> None:
    result = run(checkpoint, None, quantizer="wrpn", bits=8)
    weight = read_checkpoint(checkpoint).state["fc1.weight"]
    with open_file(result.output) as container:
        stored = container.tensor("fc1.weight")
    assert np.abs(stored - weight.numpy()).mean() < 0.02 * weight.abs().mean().item()


def test_the_ends_may_stay_in_full_precision(checkpoint: Path, digits: Dataset) -> None:
    result = run(checkpoint, digits, quantizer="dorefa:ends=full", bits=2, bits_layers={"fc2": 4}, epochs=1)
    reasons = {layer.name: layer.skipped for layer in result.layers}
    assert "ends=full" in (reasons["fc1.weight"] or "") and "ends=full" in (reasons["fc3.weight"] or "")
    assert 8 < codebooks(result)["fc2.weight"].size <= 16
    result = run(checkpoint, digits, quantizer="dorefa:ends=full", bits=2, exclude=("fc1",), epochs=1)
    assert sorted(codebooks(result)) == ["fc2.weight"]  # fc2 is the first that is selected, not that of the network


def test_a_plan_takes_bits_from_patterns_before_the_ends() -> None:
    model = nn.Sequential(*(nn.Linear(4, 4) for _ in range(4)))
    selection = select_layers(model, "all", 16, {})
    plan = plan_quantization(selection, "wrpn:ends=8", 3, {"0": 5})
    assert list(plan.bits.values()) == [5, 3, 3, 8]
    assert [layer.k for layer in plan.selection.layers] == [31, 7, 7, 255]
    some = select_layers(model, "all", 16, {}, exclude=("0",))  # then 3 alone is an end of the network
    every = [f"{i}.weight" for i in range(4)]
    assert list(plan_quantization(some, "wrpn:ends=8", 3, {}, every).bits.values()) == [3, 3, 8]
    assert list(plan_quantization(some, "wrpn:ends=full", 3, {}, every).bits) == ["1.weight", "2.weight"]
    with pytest.raises(ConfigError, match="--bits conv9"):
        plan_quantization(selection, "wrpn", 3, {"conv9": 5})
    with pytest.raises(ConfigError, match="ends"):
        plan_quantization(selection, "wrpn:ends=half", 3, {})


@pytest.mark.parametrize("name", ["dorefa", "wrpn"])
@pytest.mark.parametrize("bits", [2, 3, 5])
def test_fitted_units_are_near_the_best_of_many(name: str, bits: int) -> None:
    weight = torch.randn(4000, generator=torch.Generator().manual_seed(0)) * 0.05
    method = quantizer_named(name)

    def error(scale: Scale) -> float:
        return float((method.quantize(weight, bits, scale) - weight).square().mean())

    fitted = method.fit_scale(weight, bits)
    others = [Scale(c if name == "wrpn" else 1.0, c) for c in np.linspace(0.005, 0.3, 200)]
    assert error(fitted) <= 1.02 * min(error(scale) for scale in others)
    assert error(fitted) < error(Scale())


def fine_tuned(checkpoint: Path, digits: Dataset, **settings: Any) -> tuple[nn.Module, dict[str, int]]:
    """The model with its quantizers still on, and the plan's bits."""
    from qacomp.sources.network import build_network

    config = CompressConfig(precision="fp32", quantizer=MethodChoice("dorefa"), bits=3).with_settings(settings, "test")
    network = build_network(read_checkpoint(checkpoint), config)
    assert isinstance(network, Network)
    config = resolve_network(
        config, network, ImageExamples(digits, model_info("lenet300").preprocessing), lambda text: None
    )
    plan = plan_quantization(select_layers(network.model, "all", 16, {}), config.quantizer, config.bits, {})
    preprocessing = model_info("lenet300").preprocessing
    session = TrainingSetup(
        config, ImageExamples(digits, preprocessing), copy.deepcopy(network.model), CPU, SilentProgress()
    )
    fine_tune(network.model, plan.selection, session, plan.bits)
    return network.model, plan.bits


def rounding(model: nn.Module, name: str) -> float:
    """Mean distance of the shadow weights to their levels, relative to the levels' step."""
    module = model.get_submodule(name.rpartition(".")[0])
    assert isinstance(module, nn.Linear)
    shadow = trained_weight(model, name).detach()
    t = torch.tanh(shadow) / torch.tanh(shadow).abs().max()
    places = (t + 1) / 2 * 7
    return float((places - places.round()).abs().mean())


def test_sinreq_draws_the_weights_to_the_quantizers_levels(checkpoint: Path, digits: Dataset) -> None:
    """Evenly spread weights lie a quarter of a step from their levels on average (SinReQ, figure 2)."""
    plain, bits = fine_tuned(checkpoint, digits, epochs=8)
    drawn, _ = fine_tuned(checkpoint, digits, epochs=8, reg="sinreq")
    for name in bits:
        assert rounding(plain, name) == pytest.approx(0.25, abs=0.06)
        assert rounding(drawn, name) < 0.6 * rounding(plain, name)


def test_learned_bits_fall_and_the_quantizer_follows(checkpoint: Path, digits: Dataset) -> None:
    result = run(checkpoint, digits, quantizer="wrpn", reg="sinreq:learn_bits=true,bits_penalty=0.3", epochs=6)
    books = codebooks(result)
    assert all(3 <= book.size <= 255 for book in books.values())
    assert books["fc1.weight"].size < 32 and books["fc2.weight"].size < 128  # fc3 has 1,000 of 266,200 weights


def test_quantized_activations_reach_the_onnx_model(checkpoint: Path, digits: Dataset) -> None:
    result = run(checkpoint, digits, quantizer="dorefa:activations=2", epochs=3)
    assert "activations: 2 bits at 2 ReLUs" in result.notes
    assert result.max_abs_error is not None and result.max_abs_error < 1e-3
    assert result.accuracy.decoded is not None and result.accuracy.decoded > 85


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"quantizer": "dorefa", "sharing": "straight-through"}, "leave --sharing"),
        ({"quantizer": "dorefa", "k_layers": {"fc1": 4}}, "follows from --bits"),
        ({"quantizer": "wrpn:activations=9"}, "activations = 9: must lie between 1 and 8"),
        ({"bits": 9}, "between 1 and 8"),
        ({"bits": 3, "reg": "sinreq"}, "give --quantizer"),
        ({"bits_layers": {"fc1": 3}}, "give --quantizer"),
        ({"quantizer": "dorefa:ends=9"}, "--quantizer dorefa: ends = '9': must be same, full or a number of bits"),
        ({"bits_layers": {"fc1": 0}}, "between 1 and 8"),
        ({"reg": "exp:learn_bits=true"}, "--reg exp: unknown hyper-parameter 'learn_bits'; known are"),
        ({"reg": "sinreq:learn_bits=true", "sharing": "straight-through"}, "needs fixed"),
        ({"quantizer": "pact"}, "unknown quantizer 'pact'"),
        ({"reg": "exp", "strength_layers": {"conv7": 2.0}}, "--strength conv7"),
        ({"strength_layers": {"fc1": -1.0}}, "must not be negative"),
    ],
)
def test_settings_that_cannot_work(checkpoint: Path, digits: Dataset, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run(checkpoint, digits, **{"epochs": 1, "tune_epochs": 0} | settings)


def test_quantized_activations_need_data(checkpoint: Path) -> None:
    with pytest.raises(DataError, match="activations=4"):
        run(checkpoint, None, quantizer="dorefa:activations=4")


def test_settings_by_layer_survive_toml(tmp_path: Path) -> None:
    config = CompressConfig(strength_layers={"conv1": 0.5}, bits_layers={"fc*": 3})
    path = tmp_path / "c.toml"
    path.write_text(config.to_toml())
    assert CompressConfig.from_toml(path) == config


def test_without_an_architecture_a_quantizer_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    torch.save({"a.weight": torch.randn(8, 8)}, path)
    with pytest.raises(ConfigError, match="give --arch"):
        compress(read_checkpoint(path), None, CompressConfig(quantizer=MethodChoice("wrpn")), tmp_path / "w.qac")
