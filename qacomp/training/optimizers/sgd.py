"""Stochastic gradient descent with momentum."""

from dataclasses import dataclass

import torch
from torch.optim import Optimizer

from qacomp.options.declaration import Bounds, Need, Option, option
from qacomp.options.optimizer_options import OptimizerOptions
from qacomp.training.optimizers.registry import Groups, register_optimizer


@dataclass(frozen=True)
class SGDOptions(OptimizerOptions):
    """Hyper-parameters of sgd."""

    momentum: float = option(0.9, Option("Share of the last step that is added to a step.", bounds=Bounds(0, 1)))
    nesterov: bool = option(
        False,
        Option("Nesterov's form of momentum.", needs=(Need(lambda o: o.momentum > 0, "without momentum"),)),
    )

    @property
    def damping(self) -> float:
        """Return 1 − momentum, at least 0.001: a constant gradient of 1 moves a weight by lr / (1 − momentum)."""
        return max(1e-3, 1 - self.momentum)


@register_optimizer("sgd", SGDOptions)
def sgd(groups: Groups, lr: float, options: SGDOptions) -> Optimizer:
    """Return torch's SGD; weight decay is part of the gradient."""
    return torch.optim.SGD(groups, lr=lr, momentum=options.momentum, nesterov=options.nesterov)
