"""Objectives that score a pruning state from its logits and the labels; lower is better.

`register_objective` registers a new one. The default is EPruning's energy loss (Salehinejad and Valaee, eq. 3).
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from qacomp.errors import ConfigError

PruningObjective = Callable[[Tensor, Tensor], Tensor]
TASK = "loss"
"""The objective that is the loss of the training itself, of outputs and targets of any kind."""

OBJECTIVES: dict[str, PruningObjective] = {}


def register_objective(name: str) -> Callable[[PruningObjective], PruningObjective]:
    """Return a decorator that registers a function (logits (..., classes), labels (...)) -> one value each (...)."""

    def register(function: PruningObjective) -> PruningObjective:
        if name in OBJECTIVES:
            raise ValueError(f"two pruning objectives are registered as {name!r}")
        OBJECTIVES[name] = function
        return function

    return register


def pruning_objective(name: str) -> PruningObjective | None:
    """Return the objective registered as `name`, None for `loss`. Raise ConfigError, which lists all objectives."""
    if name == TASK:
        return None
    if name not in OBJECTIVES:
        raise ConfigError(f"objective = {name!r}: must be one of {', '.join(sorted([*OBJECTIVES, TASK]))}")
    return OBJECTIVES[name]


@register_objective("energy")
def energy_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return E = F(y) − min_{j≠y} F(j), F = −logits, that is −z_y + max_{j≠y} z_j (EPruning, eq. 2 and 3)."""
    own = logits.gather(-1, labels[..., None])  # (..., 1)
    others = logits.scatter(-1, labels[..., None], -torch.inf)  # (..., classes)
    return others.max(-1).values - own[..., 0]


@register_objective("cross-entropy")
def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return −log softmax(z)_y for each example: (...)."""
    losses = F.cross_entropy(logits.reshape(-1, logits.shape[-1]), labels.reshape(-1), reduction="none")
    return losses.view(labels.shape)
