"""Means and variances of channels: those of numpy, with torch's own gradients."""

import numpy as np
import pytest
import torch

from qacomp.calibration.channel_statistics import channel_statistics


@pytest.mark.parametrize("shape", [(7, 3), (5, 4, 6), (4, 3, 5, 6)])
def test_they_are_those_of_numpy(shape: tuple[int, ...]) -> None:
    batch = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 3 + 2
    mean, variance = channel_statistics(batch)
    axes = tuple(axis for axis in range(len(shape)) if axis != 1)
    assert np.allclose(mean, batch.numpy().mean(axes), atol=1e-5)
    assert np.allclose(variance, batch.numpy().var(axes), rtol=1e-4)


@pytest.mark.parametrize("shape", [(7, 3), (4, 3, 5, 6)])
def test_gradients_are_those_of_plain_operations(shape: tuple[int, ...]) -> None:
    batch = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(channel_statistics, (batch,))
