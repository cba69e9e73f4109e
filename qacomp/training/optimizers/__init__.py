"""Optimizers for training, one file each; every file here registers its own optimizer."""

from qacomp.options.optimizer_options import OptimizerOptions
from qacomp.training.optimizers.registry import (
    OPTIMIZERS,
    Groups,
    make_optimizer,
    register_optimizer,
    weight_decay_of,
)

__all__ = ["OPTIMIZERS", "Groups", "OptimizerOptions", "make_optimizer", "register_optimizer", "weight_decay_of"]
