"""Re-estimated statistics are the mean and variance of what the layer sees."""

import numpy as np
import torch

from qacomp.batches.images import ImageExamples
from qacomp.datasets import Dataset, Split
from qacomp.datasets.preprocessing import Preprocessing
from qacomp.progress import SilentProgress
from qacomp.training.batch_norm import reestimate_batch_norm
from qacomp.training.loop import Stage

PREPROCESSING = Preprocessing((4, 4), 1, (0.0,), (1.0,))
STAGE = Stage("batch norm", 1, 16, 0, "none", torch.device("cpu"))


def data() -> Dataset:
    rng = np.random.default_rng(0)
    split = Split(rng.random((64, 4, 4)).astype(np.float32), rng.integers(0, 2, 64))
    return Dataset("made", 2, split, split, split)


def test_the_statistics_are_those_of_the_data() -> None:
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 3, 1), torch.nn.BatchNorm2d(3), torch.nn.Dropout(0.5))
    norm = model[1]
    assert isinstance(norm, torch.nn.BatchNorm2d) and norm.running_mean is not None and norm.running_var is not None
    assert reestimate_batch_norm(model, ImageExamples(data(), PREPROCESSING).train, STAGE, SilentProgress())
    with torch.no_grad():
        seen = model[0](torch.from_numpy(PREPROCESSING.apply(data().train.x)))  # (N, 3, 4, 4)
    torch.testing.assert_close(norm.running_mean, seen.mean(dim=(0, 2, 3)), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(norm.running_var, seen.var(dim=(0, 2, 3)), atol=1e-3, rtol=2e-2)
    assert norm.momentum == 0.1 and not model.training


def test_a_network_without_batch_norm_is_left_alone() -> None:
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 3, 1))
    assert not reestimate_batch_norm(model, ImageExamples(data(), PREPROCESSING).train, STAGE, SilentProgress())
