"""Bits that are learned differ by layer, stay in their range, and cost no accuracy that as many equal bits would."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from qacomp.batches.images import ImageExamples
from qacomp.datasets import Dataset, load_dataset
from qacomp.evaluation.accuracy import torch_accuracy
from qacomp.models import model_info
from qacomp.options.config import CompressConfig
from qacomp.progress import SilentProgress
from qacomp.sources.network import Network
from qacomp.sources.torch_weights import select_layers
from qacomp.stages.resolve import resolve_network
from qacomp.training.fine_tune import fine_tune
from qacomp.training.parametrizations.quantized import QuantizedWeight
from qacomp.training.quantizers import plan_quantization, quantizer_named
from qacomp.training.regularizers.sinreq import SinReQ, SinReQOptions
from qacomp.training.setup import TrainingSetup

INPUTS = model_info("lenet300").preprocessing
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data() -> Dataset:
    return load_dataset("digits")


@pytest.fixture(scope="module")
def network(data: Dataset) -> nn.Sequential:
    torch.manual_seed(0)
    hidden = nn.Linear(196, 96), nn.ReLU(), nn.Linear(96, 64), nn.ReLU()
    model = nn.Sequential(nn.AvgPool2d(2), nn.Flatten(), *hidden, nn.Linear(64, 10))
    images, labels = torch.from_numpy(INPUTS.apply(data.train.x)), torch.from_numpy(data.train.y)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for step in range(300):
        chosen = torch.randint(0, len(images), (64,), generator=torch.Generator().manual_seed(step))
        loss = nn.functional.cross_entropy(model(images[chosen]), labels[chosen])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return model.eval()


def trained(network: nn.Module, data: Dataset, **settings: Any) -> tuple[dict[str, int], float, float, list[str]]:
    """Bits by layer, mean bits of a weight, test accuracy in percent, and the notes."""
    model = copy.deepcopy(network)
    notes: list[str] = []
    fixed = {"min_size": 1, "batch_size": 64, "epochs": 10, "precision": "fp32"}
    config = CompressConfig().with_settings(fixed | settings, "test").check()
    wrapped = Network(model, "small", 10, (1, 28, 28), INPUTS)
    config = resolve_network(config, wrapped, ImageExamples(data, INPUTS), notes.append)
    setup = TrainingSetup(
        config, ImageExamples(data, INPUTS), copy.deepcopy(network), CPU, SilentProgress(), note=notes.append
    )
    plan = plan_quantization(select_layers(model, "all", 16, {}, min_size=1), config.quantizer, config.bits, {})
    sizes = {layer.name: int(np.prod(layer.shape)) for layer in plan.selection.layers}
    penalties, _ = fine_tune(model, plan.selection, setup, plan.bits)
    bits = {name: p.whole_bits() for name, p in penalties.items() if isinstance(p, SinReQ)} or plan.bits
    mean = sum(bits[name] * size for name, size in sizes.items()) / sum(sizes.values())
    return bits, mean, torch_accuracy(model, INPUTS.apply(data.test.x), data.test.y), notes


def test_learned_bits_beat_a_uniform_width(network: nn.Module, data: Dataset) -> None:
    bits, mean, accuracy, notes = trained(network, data, reg="sinreq:learn_bits=true")
    _, _, three, _ = trained(network, data, reg="sinreq", quantizer="dorefa", bits=3)
    assert len(set(bits.values())) >= 2 and all(2 <= b <= 8 for b in bits.values()), bits
    assert bits["2.weight"] < bits["6.weight"], bits  # the first layer has most weights, the last decides
    assert mean < 2.75, bits
    assert accuracy > three - 1.2, (accuracy, three)  # of 359 images
    assert any("bits are learned in the forward pass of --quantizer dorefa" in note for note in notes)
    assert any(note.startswith("learned bits: 2 ") and f"{mean:.2f} a weight" in note for note in notes)


def test_a_higher_price_and_the_count_of_layers_move_bits(network: nn.Module, data: Dataset) -> None:
    _, free, _, _ = trained(network, data, reg="sinreq:learn_bits=true,bits_penalty=0", epochs=3)
    most = "sinreq:learn_bits=true,bits_penalty=1000,bits_count=layers"
    dear, least, _, _ = trained(network, data, reg=most, epochs=3)
    assert free == 8 and least == 2, (free, least)  # from one end of the range to the other, never past them
    assert set(dear.values()) == {2}


@pytest.mark.parametrize("name", ["dorefa", "wrpn"])
def test_the_gradient_of_bits_is_what_the_loss_changes_with_them(name: str) -> None:
    """A quadratic loss at the gathered shadow weights: its slope by b against differences of the mean loss."""
    generator = torch.Generator().manual_seed(0)
    target = torch.randn(20_000, generator=generator) * 0.05
    losses, slopes = [], []
    for bits in (3, 4, 5):
        learned = SinReQ.for_weights(target, 8, SinReQOptions(domain=name, learn_bits=True))
        learned.bits.data.fill_(float(bits))
        part = QuantizedWeight(quantizer_named(name), 8, scaled=True, learned=learned)
        shadow = target.clone().requires_grad_()
        seen: list[float] = []
        slope: list[float] = []
        for step in range(400):
            quantized = part(shadow)
            loss = (quantized - target).square().sum()
            shadow.grad = learned.bits.grad = None
            loss.backward()
            assert shadow.grad is not None and learned.bits.grad is not None
            with torch.no_grad():
                shadow -= 0.02 * shadow.grad
            if step >= 200:
                seen.append(float(loss.detach()))
                slope.append(float(learned.bits.grad))
        losses.append(np.mean(seen))
        slopes.append(np.mean(slope))
    between = (losses[2] - losses[0]) / 2
    assert slopes[1] < 0 and slopes[1] == pytest.approx(between, rel=0.5), (slopes, losses)
    assert slopes[0] < 2 * slopes[1] < 4 * slopes[2] < 0  # a bit fewer: four times the loss
