"""Images are channels-last in memory where a network takes them so; one that views its feature maps gets them plain."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from qacomp.batches.images import ImageExamples
from qacomp.datasets import Dataset, Split
from qacomp.datasets.preprocessing import Preprocessing
from qacomp.errors import DataError
from qacomp.evaluation.macs import count_macs
from qacomp.evaluation.on_batches import Mover
from qacomp.progress import SilentProgress
from qacomp.training.batch_norm import reestimate_batch_norm
from qacomp.training.loop import Stage, TrainingHooks, train
from qacomp.training.objective import Objective

STAGE = Stage("layouts", 1, 8, 0, "none", torch.device("cpu"))


class Viewing(nn.Module):
    """Its view() can't take a channels-last map. seen: the numbers of examples and modes of all calls."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.fc = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(16, 2)
        self.seen: list[tuple[int, bool]] = []

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, 4, 4) -> (N, 2)."""
        self.seen.append((len(x), self.training))
        y: Tensor = self.fc(self.norm(self.conv(x)).view(x.size(0), -1))
        return y


def data() -> ImageExamples:
    rng = np.random.default_rng(0)
    split = Split(rng.random((32, 4, 4, 3)).astype(np.float32), rng.integers(0, 2, 32))
    return ImageExamples(Dataset("made", 2, split, split, split), Preprocessing((4, 4), 3, (0.0,) * 3, (1.0,) * 3))


def test_a_network_that_views_its_feature_maps_is_trained_by_one_that_does_too() -> None:
    model, teacher = Viewing(), Viewing().eval()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = model.conv.weight.detach().clone()
    records = train(model, data(), STAGE, Objective(teacher=teacher), optimizer, TrainingHooks(SilentProgress()))
    assert len(records) == 1 and not torch.equal(model.conv.weight, before)
    trained = [count for count, training in model.seen if training]
    assert trained == [8] * 4, "each batch is run once: a norm's statistics count it once"
    assert reestimate_batch_norm(model, data().train, STAGE, SilentProgress())
    assert count_macs(model, (3, 4, 4)) == 4 * 4 * 27 + 32


def test_a_layout_is_kept_where_the_network_takes_it() -> None:
    images = torch.zeros(4, 3, 4, 4)
    turned = Mover(nn.Conv2d(3, 4, 3), STAGE.device)(images)
    plain = Mover(Viewing(), STAGE.device)(images)
    assert isinstance(turned, Tensor) and turned.is_contiguous(memory_format=torch.channels_last)
    assert isinstance(plain, Tensor) and plain.is_contiguous()
    with pytest.raises(DataError, match="can't run"):
        Mover(nn.Conv2d(5, 4, 3), STAGE.device)(images)
