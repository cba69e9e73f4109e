"""The controls of the papers' trials: the pull to the start, and what is told of ResNet-20 from finished pieces."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from qacomp.options.regularizer_options import RegularizerOptions
from qacomp.training.regularizers import accumulate_penalties

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def resnet(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.syspath_prepend(BENCHMARKS)
    yield importlib.import_module("_papers_sinreq_resnet")
    for name, found in list(sys.modules.items()):
        if str(getattr(found, "__file__", "")).startswith(str(BENCHMARKS)):
            del sys.modules[name]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_pull_to_the_start_is_zero_there_and_grows_with_the_distance(resnet: Any, layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 4, 3)
    conv.weight = nn.Parameter(conv.weight.detach().contiguous(memory_format=layout))
    model = nn.Sequential(conv)
    penalty = resnet.ToStart.for_weights(conv.weight.detach(), 8, RegularizerOptions())
    penalty.set_strength(2.0)
    assert accumulate_penalties(model, {"0.weight": penalty}, 1.0) == 0
    assert conv.weight.grad is not None
    assert not conv.weight.grad.any()
    moved = torch.randn_like(conv.weight)
    with torch.no_grad():
        conv.weight.add_(moved)
    value = accumulate_penalties(model, {"0.weight": penalty}, 0.5)
    torch.testing.assert_close(conv.weight.grad, moved, rtol=1e-4, atol=1e-5)  # 0.5 of λ = 2
    torch.testing.assert_close(value, moved.square().sum(), rtol=1e-4, atol=1e-5)


def test_differences_of_resnet20_are_paired_by_seed_and_wait_for_all_bits(resnet: Any) -> None:
    def piece(bits: int, seed: int, figures: dict[str, float]) -> Any:
        told = {name: {"shared": value} for name, value in figures.items()}
        return resnet.Piece(f"resnet20-{bits}bits", seed, {"arch": "resnet20", "bits": bits}, told, 1.0)

    first = {"fp32": 80.0, "dorefa": 70.0, "dorefa + sinreq": 71.0, "dorefa + to-start": 72.5}
    pieces = [piece(3, 0, first), piece(5, 0, first | {"dorefa + sinreq": 73.0}), piece(3, 1, first)]
    pieces.append(resnet.Piece("3bits", 0, {"arch": "simplenet", "bits": 3}, {}, 1.0))
    assert [q.differences(pieces) for q in resnet.questions()] == [[2.0], [2.5], [-0.5]]
    assert not any(q.asked for q in resnet.questions())
    means = {(c["row"], c["column"]): c["mean"] for c in resnet.cells(pieces)}
    assert means["3 bits", "DoReFa + L2 to the start"] == 72.5
    assert means["5 bits", "SinReQ less L2 to the start"] == 0.5
