"""What every registered quantizer must hold, at every number of bits; a new one is picked up by its file."""

import pytest
import torch

from qacomp.testing import QuantizerSuite, suites_of
from qacomp.testing.quantizers import layer
from qacomp.training.quantizers import list_quantizers, quantizer_named
from qacomp.training.regularizers import QuantizedLayer, build_regularizers

globals().update(suites_of(QuantizerSuite, list_quantizers()))


def test_the_two_of_sinreq_are_registered() -> None:
    assert {"dorefa", "wrpn"} <= set(list_quantizers())


@pytest.mark.parametrize("name", ["dorefa", "wrpn"])
@pytest.mark.parametrize("bits", range(1, 9))
def test_sinreq_vanishes_at_its_levels_and_peaks_between_them(name: str, bits: int) -> None:
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
