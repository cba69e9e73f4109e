"""Conformance of a quantizer, at every number of bits."""

import numpy as np
import torch
from torch import Tensor, nn

from qacomp.testing.suite import Suite, expect
from qacomp.training.quantizers import quantize_network, quantizer_named, share_quantized
from qacomp.training.regularizers import trained_weight


def layer(seed: int = 0, shape: tuple[int, ...] = (40, 25)) -> Tensor:
    """Return normally distributed weights of `shape`, float32."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 0.4


class QuantizerSuite(Suite):
    """The contract of `register_quantizer`."""

    bits = range(1, 9)

    def test_levels_ascend_and_there_are_as_many_as_the_bits_allow(self) -> None:
        """Check that there are 2^b or 2^b − 1 levels, ascending and symmetric around zero."""
        for bits in self.bits:
            levels = quantizer_named(self.name).levels(layer(), bits)
            expect(
                2 <= levels.numel() <= 2**bits and levels.numel() >= 2**bits - 1, f"{bits} bits: 2^b levels or one less"
            )
            expect(bool((levels[1:] > levels[:-1]).all()), f"{bits} bits: levels ascend")
            torch.testing.assert_close(levels, -levels.flip(0))

    def test_quantized_weights_are_levels_within_the_range(self) -> None:
        """Check that quantized weights are levels, lie in [−1, 1], and have the weight's shape."""
        for bits in self.bits:
            q = quantizer_named(self.name)
            quantized = q.quantize(layer(), bits)
            expect(quantized.shape == (40, 25), "the shape is the weight's")
            expect(bool(torch.isin(quantized, q.levels(layer(), bits)).all()), f"{bits} bits: values are levels")
            expect(bool(quantized.abs().max() <= 1), f"{bits} bits: values lie in [−1, 1]")

    def test_it_is_monotone(self) -> None:
        """Check that a larger weight never gets a smaller value."""
        ordered = layer().reshape(-1).sort().values
        for bits in self.bits:
            quantized = quantizer_named(self.name).quantize(ordered, bits)
            expect(bool((quantized.diff() >= 0).all()), f"{bits} bits: a larger weight never gets a smaller value")

    def test_idempotent_where_it_says_so(self) -> None:
        """Check that quantizing quantized weights again changes nothing, if the quantizer claims to be idempotent."""
        q = quantizer_named(self.name)
        for bits in self.bits:
            once = q.quantize(layer(), bits)
            if q.idempotent:
                torch.testing.assert_close(q.quantize(once, bits), once)

    def test_the_gradient_passes_straight_through(self) -> None:
        """Check that the full-precision weights get the gradient of the quantized ones."""
        for bits in self.bits:
            model = nn.Linear(25, 40)
            with torch.no_grad():
                model.weight.copy_(layer())
            quantize_network(model, {"weight": bits}, self.name)
            coefficients = layer(1)
            (gradient,) = torch.autograd.grad((model.weight * coefficients).sum(), trained_weight(model, "weight"))
            torch.testing.assert_close(gradient, coefficients)

    def test_frozen_weights_are_exactly_the_quantized_ones(self) -> None:
        """Check that codebooks and indices give the quantized weights, and the same outputs, bit for bit."""
        for bits in self.bits:
            conv, dense = nn.Conv2d(3, 8, 3), nn.Linear(8, 4)
            model = nn.Sequential(conv, nn.Flatten(), dense)
            quantize_network(model, {"0.weight": bits, "2.weight": bits}, self.name)
            before = [conv.weight.detach().clone(), dense.weight.detach().clone()]
            x = torch.randn(2, 3, 3, 3, generator=torch.Generator().manual_seed(0))
            outputs = model(x)
            frozen = share_quantized(model)
            expect(list(frozen) == ["0.weight", "2.weight"], "every quantized weight is frozen")
            expect(torch.equal(model(x), outputs), f"{bits} bits: outputs must not change")
            for name, was in zip(frozen, before, strict=True):
                codebook, indices = frozen[name]
                expect(np.array_equal(codebook[indices], was.numpy()), "codebook and indices give the weights")
                expect(np.unique(indices).size == codebook.size, "no entry of the codebook is unused")
