"""Adadelta (Zeiler 2012): steps are scaled by the size of earlier steps; use a learning rate near 1."""

from dataclasses import dataclass

import torch
from torch.optim import Optimizer

from qacomp.options.declaration import Bounds, Option, option
from qacomp.options.optimizer_options import OptimizerOptions
from qacomp.training.optimizers.registry import Groups, register_optimizer


@dataclass(frozen=True)
class AdadeltaOptions(OptimizerOptions):
    """Hyper-parameters of adadelta."""

    rho: float = option(0.9, Option("Decay of the running mean of squares.", bounds=Bounds(0, 1)))


@register_optimizer("adadelta", AdadeltaOptions)
def adadelta(groups: Groups, lr: float, options: AdadeltaOptions) -> Optimizer:
    """Return torch's Adadelta; weight decay is part of the gradient."""
    return torch.optim.Adadelta(groups, lr=lr, rho=options.rho)
