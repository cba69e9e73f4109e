"""Adam (Kingma and Ba 2015): steps have about the size of the learning rate, for gradients of any size."""

from dataclasses import dataclass

import torch
from torch.optim import Optimizer

from qacomp.options.declaration import Bounds, Option, option
from qacomp.options.optimizer_options import OptimizerOptions
from qacomp.training.optimizers.registry import Groups, register_optimizer

BELOW_ONE = Bounds(0, 1, open_high=True)


@dataclass(frozen=True)
class AdamOptions(OptimizerOptions):
    """Hyper-parameters of adam and adamw."""

    beta1: float = option(0.9, Option("Decay of the running mean of gradients.", bounds=BELOW_ONE))
    beta2: float = option(0.999, Option("Decay of the running mean of squared gradients.", bounds=BELOW_ONE))


@register_optimizer("adam", AdamOptions)
def adam(groups: Groups, lr: float, options: AdamOptions) -> Optimizer:
    """Return torch's Adam; weight decay is part of the gradient."""
    return torch.optim.Adam(groups, lr=lr, betas=(options.beta1, options.beta2))
