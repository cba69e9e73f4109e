"""Multiply-accumulates against sums done by hand."""

import pytest
import torch
from torch import nn

from qacomp.evaluation.macs import count_macs, count_parameters
from qacomp.models import create_model


def test_simplenet_by_hand() -> None:
    by_hand = 28 * 28 * 6 * 3 * 25 + 10 * 10 * 16 * 6 * 25 + 400 * 120 + 120 * 84 + 84 * 10
    assert count_macs(create_model("simplenet"), (3, 32, 32)) == by_hand


@pytest.mark.parametrize(
    ("layer", "shape", "macs"),
    [
        (nn.Linear(5, 7), (5,), 35),
        (nn.Linear(5, 7), (3, 5), 105),
        (nn.Conv1d(4, 6, 3, padding=1), (4, 10), 10 * 6 * 4 * 3),
        (nn.Conv2d(8, 8, 3, groups=8, stride=2, padding=1), (8, 6, 6), 9 * 8 * 9),
        (nn.Conv2d(8, 4, 3, groups=2), (8, 5, 5), 9 * 4 * 4 * 9),
        (nn.ConvTranspose2d(3, 5, 2, stride=2), (3, 4, 4), 16 * 3 * 5 * 4),
        (nn.Sequential(nn.ReLU(), nn.BatchNorm2d(3), nn.MaxPool2d(2)), (3, 4, 4), 0),
    ],
)
def test_kinds_of_layers(layer: nn.Module, shape: tuple[int, ...], macs: int) -> None:
    assert count_macs(layer, shape) == macs


def test_a_layer_counts_as_often_as_it_runs_and_a_shared_parameter_once() -> None:
    layer = nn.Linear(4, 4)
    model = nn.Sequential(layer, layer)
    assert count_macs(model, (4,)) == 32 and count_parameters(model) == 20


def test_the_model_is_left_as_it_was() -> None:
    model = create_model("svhnnet").train()
    model.get_submodule("classifier").eval()
    norm = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).train()
    count_macs(model, (3, 32, 32))
    count_macs(norm, (3, 8, 8))
    assert model.training and not model.get_submodule("classifier").training
    assert not any(module._forward_hooks for module in model.modules())
    assert torch.equal(norm.state_dict()["1.num_batches_tracked"], torch.tensor(0))
