"""Single weights are pruned in any network: of other kinds of layers, with several outputs, and untraceable ones."""

from typing import Any

import own_networks as own
import pytest
import torch
from torch import Tensor, nn

from qacomp.errors import ConfigError
from qacomp.graphs.export_inputs import ExportInputs
from qacomp.options.config import CompressConfig
from qacomp.options.method import parse_method
from qacomp.training.pruning.stage import prune


class Mixed(nn.Module):
    """Layers that the walk over a traced network doesn't know, beside one that it does."""

    def __init__(self) -> None:
        super().__init__()
        self.wide, self.grouped = nn.Conv1d(4, 8, 3, padding=1), nn.Conv1d(8, 8, 3, padding=1, groups=4)
        self.up, self.tokens = nn.ConvTranspose1d(8, 6, 2, 2), nn.Linear(16, 10)
        self.head = nn.Linear(60, 5)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.tokens(self.up(self.grouped(self.wide(x).relu()).relu()))  # (N, 6, 10)
        scores: Tensor = self.head(found.flatten(1))
        return scores


class Branches(Mixed):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) if x.sum() > 0 else super().forward(-x)


def pruned(model: nn.Module, example: Any, method: str = "magnitude:rate=0.75") -> tuple[dict[str, float], list[str]]:
    """The share of zeros in each matrix or kernel, and the notes."""
    notes: list[str] = []
    config = CompressConfig(prune=parse_method(method, "test"))
    prune(model, example, config, None, notes.append)
    weights = {name: p for name, p in model.named_parameters() if p.ndim > 1}
    return {name: float((w == 0).float().mean()) for name, w in weights.items()}, notes


@pytest.mark.parametrize("kind", [Mixed, Branches])
def test_every_layer_with_kernels_is_pruned(kind: type[nn.Module]) -> None:
    torch.manual_seed(0)
    model = kind()
    biases = {name: p.clone() for name, p in model.named_parameters() if p.ndim == 1}
    shares, notes = pruned(model, (4, 8))
    assert len(shares) == 5 and all(share == pytest.approx(0.75, abs=0.04) for share in shares.values()), shares
    assert any("can't be traced" in note for note in notes) == (kind is Branches)
    assert model(torch.randn(2, 4, 8)).shape == (2, 5)
    assert all(torch.equal(p, biases[name]) for name, p in model.named_parameters() if name in biases)


def test_a_network_with_several_outputs_is_pruned() -> None:
    torch.manual_seed(0)
    model = own.TwoInputs()
    example = ExportInputs.of_feeds([(torch.randn(2, 1, 8, 8), torch.randn(2, 4))], model)
    shares, _ = pruned(model, example)
    assert all(share >= 0.74 for share in shares.values()), shares
    assert {tuple(found.shape) for found in model(torch.randn(3, 1, 8, 8), torch.randn(3, 4))} == {(3, 3), (3, 88)}


def test_what_is_not_pruned_is_said_and_nothing_to_prune_is_an_error() -> None:
    torch.manual_seed(0)
    text, words = own.TextClassifier(), torch.ones(2, 6).long()
    shares, notes = pruned(text, ExportInputs.of_feeds([{"input_ids": words, "attention_mask": words}], text))
    assert shares["words.weight"] < 0.1 and shares["head.weight"] == pytest.approx(0.75, abs=0.04)
    assert any("not pruned" in note and "words.weight" in note for note in notes)
    with pytest.raises(ConfigError, match="no layer of this network can be pruned"):
        pruned(nn.LSTM(4, 6), (5, 4))
    with pytest.raises(ConfigError, match="can't be traced"):
        pruned(Branches(), (4, 8), "magnitude:rate=0.5,unit=filter")
