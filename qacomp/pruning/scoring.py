"""The scores of a population of states on one batch: all in one forward pass, or one after the other as reference."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from qacomp.pruning.gates import Gates
from qacomp.pruning.objectives import PruningObjective
from qacomp.pruning.units import States


def score_population(
    model: nn.Module, gates: Gates, states: States, x: Tensor, y: Tensor, objective: PruningObjective
) -> NDArray[np.float64]:
    """Mean objective of each of the (S, D) states over the batch x (B, C, H, W), y (B,): (S,), in one forward pass."""
    count = len(states)
    with torch.inference_mode(), gates.population(states):
        repeated = x.repeat(count, *[1] * (x.ndim - 1)) if count > 1 else x  # (S * B, C, H, W)
        if x.ndim == 4:
            repeated = repeated.contiguous(memory_format=torch.channels_last)
        logits = model(repeated).float().view(count, len(x), -1)  # (S, B, classes)
        scores = objective(logits, y.expand(count, -1)).mean(dim=1, dtype=torch.float64)  # (S,)
    return np.asarray(scores.cpu().numpy())


def score_serially(
    model: nn.Module, gates: Gates, states: States, x: Tensor, y: Tensor, objective: PruningObjective
) -> NDArray[np.float64]:
    """The same, a forward pass a state."""
    return np.concatenate([score_population(model, gates, state[None], x, y, objective) for state in states])
