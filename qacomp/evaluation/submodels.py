"""Measure the sub-models of a flexible network: a metric of all from one pass over the data, MACs, parameters."""

import numpy as np
import torch
from torch import nn

from qacomp.batches.arrays import ArrayBatches
from qacomp.batches.examples import Batch, Batches
from qacomp.batches.feed import Feed, mapped, moved
from qacomp.batches.outputs import comparable
from qacomp.evaluation.macs import count_macs, count_parameters
from qacomp.evaluation.metric import ACCURACY, Metric
from qacomp.evaluation.on_batches import device_of, network_value
from qacomp.models.flexible import FlexibleModel
from qacomp.models.plain_modules import in_eval_mode


def submodel_accuracies(
    model: FlexibleModel, x: np.ndarray, y: np.ndarray, *, batch_size: int = 256, device: torch.device | None = None
) -> dict[str, float]:
    """Compute the top-1 accuracy in percent by sub-model name, smallest first, on x (N, C, H, W) float32 and y (N,)."""
    test = ArrayBatches(Batch(torch.as_tensor(x), torch.as_tensor(y)))
    return submodel_values(model, test, ACCURACY, batch_size=batch_size, device=device)


def submodel_values(
    model: FlexibleModel,
    batches: Batches,
    metric: Metric,
    *,
    batch_size: int = 256,
    device: torch.device | None = None,
) -> dict[str, float]:
    """Compute a metric by sub-model name, smallest first."""
    assert isinstance(model, nn.Module)
    if device is not None:
        model.to(device)
    place, scorers = device_of(model), [metric.start() for _ in model.submodel_names]
    with in_eval_mode(model), torch.inference_mode():
        for batch in batches.in_order(batch_size):
            every = model.forward_all(moved(batch.x, place))
            y = mapped(batch.y, lambda tensor: tensor.cpu())
            for scorer, found in zip(scorers, every, strict=True):
                scorer.add(mapped(comparable(found), lambda tensor: tensor.float().cpu()), y)
    return {name: scorer.value() for name, scorer in zip(model.submodel_names, scorers, strict=True)}


def describe_submodels(
    models: dict[str, nn.Module], example: tuple[int, ...] | Feed, test: Batches | None
) -> dict[str, dict[str, int | float]]:
    """Compute, by name, the MACs of one example, the parameters, and the top-1 accuracy in percent.

    models: plain networks with the values that the file holds; example: (C, H, W), or a feed; test: with class labels;
    None: no accuracy is measured.
    """
    described: dict[str, dict[str, int | float]] = {}
    for name, model in models.items():
        described[name] = {"macs": count_macs(model, example), "parameters": count_parameters(model)}
        if test is not None:
            described[name]["accuracy"] = network_value(model, test, ACCURACY, batch_size=256)
    return described
