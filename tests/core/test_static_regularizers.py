"""R_S and R_C against the paper's formulas written out in numpy, and the range that they choose."""

import numpy as np
import pytest
import torch

from qacomp.regularizers.cosine import Cosine
from qacomp.regularizers.sine import Sine
from qacomp.regularizers.uniform_range import uniform_range

LOW, HIGH = -0.7, 1.1


@pytest.mark.parametrize("k", [2, 5, 8])
def test_sine_is_the_papers(k: int) -> None:
    x = np.random.default_rng(0).normal(size=(30, 4))
    expected = np.abs(np.sin(np.pi * (k - 1) * (x - LOW) / (HIGH - LOW))).mean()
    assert Sine(k, LOW, HIGH)(torch.from_numpy(x)).item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("k", [2, 5, 8])
def test_cosine_is_the_papers(k: int) -> None:
    x = np.random.default_rng(0).normal(size=(30, 4))
    expected = np.abs(np.cos(np.pi * k * (x - LOW) / (HIGH - LOW))).mean()
    assert Cosine(k, LOW, HIGH)(torch.from_numpy(x)).item() == pytest.approx(expected, abs=1e-12)


def test_the_outermost_minima_lie_on_the_range_for_sine_and_half_a_step_inside_for_cosine() -> None:
    assert Sine(8, -1, 1).levels()[[0, -1]].tolist() == [-1.0, 1.0]
    torch.testing.assert_close(Cosine(8, -1, 1).levels()[[0, -1]], torch.tensor([-0.875, 0.875]))


@pytest.mark.parametrize(("k", "step_in_sigmas"), [(4, 0.9957), (8, 0.5860), (16, 0.3352)])
def test_the_range_is_the_best_uniform_quantizer_of_a_bell(k: int, step_in_sigmas: float) -> None:
    """Steps of the optimal uniform quantizer of a normal distribution: Max (1960), table II."""
    w = torch.randn(200_000, generator=torch.Generator().manual_seed(0))
    low, high = uniform_range(w, k, inset=0.0)
    assert (high - low) / (k - 1) == pytest.approx(step_in_sigmas, rel=0.06)
