"""AdamW (Loshchilov and Hutter 2019): Adam with weight decay that is not part of the gradient."""

import torch
from torch.optim import Optimizer

from qacomp.training.optimizers.adam import AdamOptions
from qacomp.training.optimizers.registry import Groups, register_optimizer


@register_optimizer("adamw", AdamOptions)
def adamw(groups: Groups, lr: float, options: AdamOptions) -> Optimizer:
    """Return torch's AdamW; weight decay multiplies weights by 1 − lr · decay in each step."""
    return torch.optim.AdamW(groups, lr=lr, betas=(options.beta1, options.beta2))
