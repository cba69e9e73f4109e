"""Measure the sub-models of a flexible network: the accuracy of all from one pass over the data, MACs, parameters."""

import numpy as np
import torch
from torch import Tensor, nn

from qacomp.evaluation.accuracy import topk_accuracy, torch_accuracy, torch_logits
from qacomp.evaluation.macs import count_macs, count_parameters
from qacomp.models.flexible import FlexibleModel


def submodel_accuracies(
    model: FlexibleModel, x: np.ndarray, y: np.ndarray, *, batch_size: int = 256, device: torch.device | None = None
) -> dict[str, float]:
    """Compute the top-1 accuracy in percent by sub-model name, smallest first, on x (N, C, H, W) float32 and y (N,)."""
    names = model.submodel_names
    stacked = torch_logits(_AllLogits(model), x, batch_size=batch_size, device=device)  # (N, sub-models · classes)
    logits = np.split(stacked, len(names), axis=1)
    return {name: topk_accuracy(own, y) for name, own in zip(names, logits, strict=True)}


def describe_submodels(
    models: dict[str, nn.Module], input_shape: tuple[int, ...], test: tuple[np.ndarray, np.ndarray] | None
) -> dict[str, dict[str, int | float]]:
    """Compute, by name, the MACs of one example, the parameters, and the top-1 accuracy in percent.

    models: plain networks with the values that the file holds; input_shape: (C, H, W); test: x (N, C, H, W) and y (N,),
    None: no accuracy is measured.
    """
    described: dict[str, dict[str, int | float]] = {}
    for name, model in models.items():
        described[name] = {"macs": count_macs(model, input_shape), "parameters": count_parameters(model)}
        if test is not None:
            described[name]["accuracy"] = torch_accuracy(model, *test, batch_size=256)
    return described


class _AllLogits(nn.Module):
    """Concatenates the logits of all sub-models to one output, for functions that expect one output."""

    def __init__(self, model: FlexibleModel) -> None:
        super().__init__()
        assert isinstance(model, nn.Module)
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """Compute the logits of all sub-models: (N, C, H, W) -> (N, sub-models · classes)."""
        assert isinstance(self.model, FlexibleModel)
        return torch.cat(self.model.forward_all(x), dim=1)
