"""The quantizers' formulas written out in numpy, bits by layer, activations, and what is refused."""

import numpy as np
import pytest
import torch
from torch import nn

from qacomp.errors import ConfigError
from qacomp.evaluation.accuracy import onnx_logits
from qacomp.graphs.network import export_dense
from qacomp.training.parametrizations.shared import unshare
from qacomp.training.quantizers import (
    layer_bits,
    quantize_activations,
    quantize_network,
    quantized_weights,
    quantizer_named,
    share_quantized,
)


def normal(*shape: int, scale: float = 1.0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0)) * scale


@pytest.mark.parametrize("bits", [2, 3, 5, 8])
def test_dorefa_is_the_papers(bits: int) -> None:
    w = normal(50, 7).double()
    t, n = np.tanh(w.numpy()), 2**bits - 1
    expected = 2 * np.round(n * (t / (2 * np.abs(t).max()) + 0.5)) / n - 1
    np.testing.assert_allclose(quantizer_named("dorefa").quantize(w, bits).numpy(), expected, atol=1e-15)


@pytest.mark.parametrize("bits", [2, 3, 5, 8])
def test_wrpn_is_the_papers(bits: int) -> None:
    w = normal(50, 7).double()
    n = 2 ** (bits - 1) - 1
    expected = np.round(n * np.clip(w.numpy(), -1, 1)) / n
    np.testing.assert_allclose(quantizer_named("wrpn").quantize(w, bits).numpy(), expected, atol=1e-15)


@pytest.mark.parametrize("name", ["dorefa", "wrpn"])
def test_one_bit_is_the_sign_times_the_mean_magnitude(name: str) -> None:
    w = normal(50, 7)
    torch.testing.assert_close(quantizer_named(name).quantize(w, 1), w.sign() * w.abs().mean())


@pytest.mark.parametrize("name", ["dorefa", "wrpn"])
def test_a_layer_of_zeros_stays_finite(name: str) -> None:
    for bits in (1, 2, 8):
        assert torch.isfinite(quantizer_named(name).quantize(torch.zeros(3, 3), bits)).all()


def test_training_moves_the_shadow_and_freezing_leaves_a_trainable_codebook() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3))
    quantize_network(model, layer_bits(["0.weight", "2.weight"], [3, 2]), "dorefa")
    assert [name for name, *_ in quantized_weights(model)] == ["0.weight", "2.weight"]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    x, y = normal(64, 6), normal(64, 3).argmax(1)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]
    frozen = share_quantized(model)
    assert not list(quantized_weights(model))
    codebooks = [codebook.size for codebook, _ in frozen.values()]
    assert sorted(p.numel() for p in model.parameters()) == sorted([3, 16, *codebooks])
    assert codebooks[0] <= 8 and codebooks[1] <= 4


def test_bits_by_layer() -> None:
    names = ["a", "b", "c"]
    assert layer_bits(names, 3) == {"a": 3, "b": 3, "c": 3}
    assert layer_bits(names, 3, ends=8) == {"a": 8, "b": 3, "c": 8}
    assert layer_bits(names, 3, ends="full") == {"b": 3}
    assert layer_bits(names, [5, 3, 4]) == {"a": 5, "b": 3, "c": 4}
    with pytest.raises(ConfigError, match="2 numbers of bits for 3 layers"):
        layer_bits(names, [5, 3])
    with pytest.raises(ConfigError, match="same, full or a number"):
        layer_bits(names, 3, ends="none")


@pytest.mark.parametrize("bits", [0, 9, -1])
def test_bits_out_of_range_change_nothing(bits: int) -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    with pytest.raises(ConfigError, match="from 1 to 8"):
        quantize_network(model, {"0.weight": 3, "1.weight": bits}, "wrpn")
    assert not list(quantized_weights(model))


def test_an_unknown_quantizer_is_named_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"'pact': known are dorefa, wrpn"):
        quantize_network(nn.Linear(2, 2), {"weight": 2}, "pact")


def test_activations_take_few_values_and_pass_gradients_inside_the_range() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Sequential(nn.ReLU6()))
    assert quantize_activations(model, 2, keep=["2.0"]) == ["1"]
    x = torch.linspace(-1, 2, 301).requires_grad_()
    y = model[1](x)
    torch.testing.assert_close(y.detach(), torch.round(x.detach().clamp(0, 1) * 3) / 3)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    inside = (x > 0) & (x < 1)
    assert (gradient[inside] == 1).all() and (gradient[(x < 0) | (x > 1)] == 0).all()
    with pytest.raises(ConfigError, match="no ReLU modules"):
        quantize_activations(nn.Linear(2, 2), 2)


def test_quantized_weights_and_activations_export_to_onnx() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3))
    quantize_network(model, {"0.weight": 3, "3.weight": 3}, "dorefa")
    quantize_activations(model, 3)
    share_quantized(model)
    for path in ("0", "3"):
        unshare(model.get_submodule(path), "weight")
    model.eval()
    x = normal(5, 1, 8, 8)
    logits = onnx_logits(export_dense(model, (1, 8, 8)), x.numpy())
    np.testing.assert_allclose(logits, model(x).detach().numpy(), atol=1e-4)
