"""A small classifier of scikit-learn's digits, trained for a second, with or without batch norm."""

from typing import Any

import torch
from torch import nn

from qacomp.datasets import load_dataset
from qacomp.models import model_info

_INPUTS = model_info("lenet300").preprocessing
PREPROCESS: dict[str, Any] = {"size": _INPUTS.size, "mean": _INPUTS.mean, "std": _INPUTS.std}
"""The setting `preprocess` of qacomp.compress for this network."""


def digits_network(norm: bool = False, steps: int = 300) -> nn.Sequential:
    """Return the network (N, 1, 28, 28) -> (N, 10), in evaluation mode; the same one in each call."""
    torch.manual_seed(0)
    data = load_dataset("digits")
    hidden = nn.Linear(196, 64), *((nn.BatchNorm1d(64),) if norm else ()), nn.ReLU()
    model = nn.Sequential(nn.AvgPool2d(2), nn.Flatten(), *hidden, nn.Linear(64, 10))
    images = torch.from_numpy(_INPUTS.apply(data.train.x))
    labels = torch.from_numpy(data.train.y)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for step in range(steps):
        chosen = torch.randint(0, len(images), (64,), generator=torch.Generator().manual_seed(step))
        loss = nn.functional.cross_entropy(model(images[chosen]), labels[chosen])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return model.eval()
