"""What every registered quantizer must hold, at every number of bits."""

import numpy as np
import pytest
import torch
from torch import nn

from qacomp.training.quantizers import list_quantizers, quantize_network, quantizer_named, share_quantized
from qacomp.training.regularizers import QuantizedLayer, build_regularizers, trained_weight

NAMES = list_quantizers()


def layer(seed: int = 0, shape: tuple[int, ...] = (40, 25)) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 0.4


def test_the_two_of_sinreq_are_registered() -> None:
    assert {"dorefa", "wrpn"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("bits", range(1, 9))
class TestEveryQuantizer:
    def test_levels_ascend_and_there_are_as_many_as_the_bits_allow(self, name: str, bits: int) -> None:
        levels = quantizer_named(name).levels(layer(), bits)
        assert 2 <= levels.numel() <= 2**bits
        assert levels.numel() >= 2**bits - 1
        assert (levels[1:] > levels[:-1]).all()
        torch.testing.assert_close(levels, -levels.flip(0))

    def test_quantized_weights_are_levels_within_the_range(self, name: str, bits: int) -> None:
        q = quantizer_named(name)
        quantized = q.quantize(layer(), bits)
        assert quantized.shape == (40, 25)
        assert torch.isin(quantized, q.levels(layer(), bits)).all()
        assert quantized.abs().max() <= 1

    def test_it_is_monotone(self, name: str, bits: int) -> None:
        ordered = layer().reshape(-1).sort().values
        assert (quantizer_named(name).quantize(ordered, bits).diff() >= 0).all()

    def test_idempotent_where_it_says_so(self, name: str, bits: int) -> None:
        q = quantizer_named(name)
        once = q.quantize(layer(), bits)
        if q.idempotent or bits == 1:
            torch.testing.assert_close(q.quantize(once, bits), once)

    def test_the_gradient_passes_straight_through(self, name: str, bits: int) -> None:
        model = nn.Linear(25, 40)
        with torch.no_grad():
            model.weight.copy_(layer())
        quantize_network(model, {"weight": bits}, name)
        coefficients = layer(1)
        (gradient,) = torch.autograd.grad((model.weight * coefficients).sum(), trained_weight(model, "weight"))
        torch.testing.assert_close(gradient, coefficients)

    def test_frozen_weights_are_exactly_the_quantized_ones(self, name: str, bits: int) -> None:
        conv, dense = nn.Conv2d(3, 8, 3), nn.Linear(8, 4)
        model = nn.Sequential(conv, nn.Flatten(), dense)
        quantize_network(model, {"0.weight": bits, "2.weight": bits}, name)
        before = [conv.weight.detach().clone(), dense.weight.detach().clone()]
        x = torch.randn(2, 3, 3, 3, generator=torch.Generator().manual_seed(0))
        outputs = model(x)
        frozen = share_quantized(model)
        assert list(frozen) == ["0.weight", "2.weight"]
        assert torch.equal(model(x), outputs)
        for name_, was in zip(frozen, before, strict=True):
            codebook, indices = frozen[name_]
            assert np.array_equal(codebook[indices], was.numpy())
            assert np.unique(indices).size == codebook.size

    def test_sinreq_vanishes_at_its_levels_and_peaks_between_them(self, name: str, bits: int) -> None:
        """Weights whose quantized values are every level in turn, and weights halfway between them."""
        weight = layer().double()
        quantized = {"w": QuantizedLayer(name, bits)}
        penalty = build_regularizers("sinreq", {"w": weight}, {"w": 2**bits}, quantized=quantized)["w"]
        penalty.double().eval()
        levels = quantizer_named(name).levels(weight, bits)
        zeros, peaks = levels, (levels[1:] + levels[:-1]) / 2
        if name == "dorefa" and bits > 1:  # the weight that tanh(w) / max |tanh w| puts there
            largest = torch.tanh(weight.abs().max())
            zeros, peaks = torch.atanh(zeros * largest), torch.atanh(peaks * largest)
        for zero in zeros:
            assert penalty.reference(zero[None]).item() == pytest.approx(0, abs=1e-8)
        for peak in peaks:
            assert penalty.reference(peak[None]).item() == pytest.approx(1, abs=1e-8)
        torch.testing.assert_close(penalty.representatives(), zeros.float(), atol=1e-5, rtol=1e-4)
