"""Biases of layers on grids: which ones, and that the decoded network has them."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from qacomp.api import compress
from qacomp.exporting.decode import decode_file
from qacomp.formats import open_file
from qacomp.options.config import CompressConfig
from qacomp.sources.torch_weights import layer_weights, select_layers
from qacomp.stages.rate_biases import with_biases


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 40), nn.ReLU(), nn.Linear(40, 12), nn.BatchNorm1d(12)).eval()


@pytest.mark.parametrize(
    ("settings", "biases"),
    [
        ({"min_size": 30}, ["1.bias"]),
        ({"min_size": 2}, ["1.bias", "3.bias"]),
        ({"min_size": 2, "exclude": ("1.bias",)}, ["3.bias"]),
        ({"min_size": 2, "include": ("1", "3")}, []),
        ({}, []),
    ],
)
def test_biases_of_selected_layers_are_added(settings: dict[str, object], biases: list[str]) -> None:
    model, config = network(), CompressConfig().with_settings(settings, "test")
    chosen = select_layers(model, "all", 16, {}, include=config.include, exclude=(), min_size=config.min_size)
    found = with_biases(chosen, layer_weights(model), config)
    assert [layer.name for layer in found.layers] == [*(layer.name for layer in chosen.layers), *biases]
    assert not {layer.name for layer in found.layers} & found.skipped.keys()
    assert {layer.name for layer in found.layers} | found.skipped.keys() == set(model.state_dict())


def test_a_decoded_network_has_its_biases(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, path = nn.Sequential(nn.Flatten(), nn.Linear(64, 600), nn.ReLU(), nn.Linear(600, 12)).eval(), tmp_path / "m"
    compress(model, output=path, input_shape=(1, 8, 8), sharing="rate:tuned=false", quality="small")
    with open_file(path) as container:
        assert container.shared("1.bias").codebook.size < 100
        assert np.array_equal(container.tensor("3.bias").shape, (12,))
    decode_file(path, tmp_path / "model.onnx")
    x = np.random.default_rng(0).standard_normal((32, 1, 8, 8)).astype(np.float32)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    (found,) = session.run(None, {session.get_inputs()[0].name: x})
    with torch.no_grad():
        wanted = model(torch.from_numpy(x)).numpy()
    assert np.abs(found - wanted).std() < 0.3 * wanted.std()
