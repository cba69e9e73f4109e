"""The sub-models of a flexible network: how good each is, from one pass over the data, and how much it computes."""

import numpy as np
import torch
from torch import Tensor, nn

from qacomp.evaluation.accuracy import topk_accuracy, torch_accuracy, torch_logits
from qacomp.evaluation.macs import count_macs, count_parameters
from qacomp.models.flexible import FlexibleModel


def submodel_accuracies(
    model: FlexibleModel, x: np.ndarray, y: np.ndarray, *, batch_size: int = 256, device: torch.device | None = None
) -> dict[str, float]:
    """Compute top-1 in percent by sub-model name, smallest first, on x (N, C, H, W) float32 and y (N,)."""
    names = model.submodel_names
    stacked = torch_logits(_AllLogits(model), x, batch_size=batch_size, device=device)  # (N, sub-models · classes)
    logits = np.split(stacked, len(names), axis=1)
    return {name: topk_accuracy(own, y) for name, own in zip(names, logits, strict=True)}


def describe_submodels(
    models: dict[str, nn.Module], input_shape: tuple[int, ...], test: tuple[np.ndarray, np.ndarray] | None
) -> dict[str, dict[str, int | float]]:
    """Compute MACs of one example of `input_shape` (C, H, W), parameters, and top-1 in percent, by name.

    models: plain networks with the values that the file holds; test: (N, C, H, W) and (N,), None: no accuracy.
    """
    described: dict[str, dict[str, int | float]] = {}
    for name, model in models.items():
        described[name] = {"macs": count_macs(model, input_shape), "parameters": count_parameters(model)}
        if test is not None:
            described[name]["accuracy"] = torch_accuracy(model, *test, batch_size=256)
    return described


class _AllLogits(nn.Module):
    """All sub-models' logits side by side: one output, as whatever evaluates a network expects."""

    def __init__(self, model: FlexibleModel) -> None:
        super().__init__()
        assert isinstance(model, nn.Module)
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """Compute all logits: (N, C, H, W) -> (N, sub-models · classes)."""
        assert isinstance(self.model, FlexibleModel)
        return torch.cat(self.model.forward_all(x), dim=1)
