"""A weight that an embedding and a head share is compensated for both; one that another module reads, for none."""

import numpy as np
import torch
from torch import Tensor, nn

from qacomp.calibration.torch_model import TorchCalibration

WORDS, WIDTH = 60, 12


class Language(nn.Module):
    """A head over embeddings and a layer. tied: all of one table; scaled: a module of its own reads the table too."""

    def __init__(self, *, tied: bool, scaled: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table, self.hidden = nn.Embedding(WORDS, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.head, self.scale = nn.Linear(WIDTH, WORDS, bias=False), Scale(self.table.weight) if scaled else None
        if tied:
            self.head.weight = self.table.weight

    def forward(self, x: Tensor) -> Tensor:
        made = torch.relu(self.hidden(self.table(x)))
        logits: Tensor = self.head(made if self.scale is None else self.scale(made))
        return logits


class Scale(nn.Module):
    """Scales inputs by the mean of a table."""

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.weight = table

    def forward(self, x: Tensor) -> Tensor:
        return x * (1 + self.weight.mean())


def moment(model: nn.Module, name: str) -> np.ndarray | None:
    ids = torch.arange(WORDS)[:, None]
    found = TorchCalibration(model.eval(), ids, "all words", 0).moments({name: (WORDS, WIDTH)}, lambda: None)
    return found[name].values[0] if name in found else None


def test_an_embedding_adds_to_what_the_head_reads() -> None:
    tied = Language(tied=True)
    alone = Language(tied=False)
    alone.load_state_dict(tied.state_dict())
    both, head = moment(tied, "table.weight"), moment(alone, "head.weight")
    assert both is not None and head is not None
    assert np.allclose(both, head + np.eye(WIDTH) * np.trace(head) / WIDTH)
    assert moment(alone, "table.weight") is None  # read by row alone


def test_a_reader_that_is_not_known_leaves_the_weight_without_a_moment() -> None:
    assert moment(Language(tied=True, scaled=True), "table.weight") is None
