"""What a container tells of each of its networks: how much it computes, and how good it is."""

import numpy as np
from torch import nn

from qacomp.evaluation.accuracy import torch_accuracy
from qacomp.evaluation.macs import count_macs, count_parameters


def describe_submodels(
    models: dict[str, nn.Module], input_shape: tuple[int, ...], test: tuple[np.ndarray, np.ndarray] | None
) -> dict[str, dict[str, int | float]]:
    """MACs of one example of `input_shape` (C, H, W), parameters, and top-1 in percent, by name.

    models: plain networks with the values that the file holds; test: (N, C, H, W) and (N,), None: no accuracy.
    """
    described: dict[str, dict[str, int | float]] = {}
    for name, model in models.items():
        described[name] = {"macs": count_macs(model, input_shape), "parameters": count_parameters(model)}
        if test is not None:
            described[name]["accuracy"] = torch_accuracy(model, *test, batch_size=256)
    return described
