"""The registry of optimizers: for each a decorated function and the dataclass of its hyper-parameters."""

from collections.abc import Callable
from typing import Any, TypeAlias

from torch.optim import Optimizer

from qacomp.options.method import MethodChoice
from qacomp.options.method_table import MethodTable
from qacomp.options.optimizer_options import OptimizerOptions
from qacomp.options.registry import Registry

Groups: TypeAlias = list[dict[str, Any]]
"""Groups of parameters, each with `params`, `lr` and `weight_decay`, as torch's optimizers take them."""
OptimizerBuilder: TypeAlias = Callable[[Groups, float, Any], Optimizer]
OPTIMIZERS: MethodTable[OptimizerBuilder] = MethodTable(
    "optimizer",
    OptimizerOptions,
    Registry("optimizer", "qacomp.training.optimizers", "qacomp.optimizers"),
    optional=False,
)


def register_optimizer(
    name: str, options: type[OptimizerOptions] = OptimizerOptions
) -> Callable[[OptimizerBuilder], OptimizerBuilder]:
    """Register `def build(groups, lr, options) -> torch.optim.Optimizer` as `--optimizer NAME`.

    groups: parameters with their own `lr` and `weight_decay`; lr: for groups without one; options: the hyper-parameters
    (`--optimizer NAME:HYPER_PARAMETER=VALUE`), an instance of the frozen dataclass `options` that declares them. The
    optimizer's state dict must hold all its state, so that a resumed training continues exactly.
    """
    return OPTIMIZERS.register(name, options)


def weight_decay_of(choice: MethodChoice) -> float:
    """Return the weight decay of the chosen optimizer, for its groups. ConfigError for an invalid choice."""
    options: OptimizerOptions = OPTIMIZERS.options(choice)
    return options.weight_decay


def make_optimizer(choice: MethodChoice, groups: Groups, lr: float) -> Optimizer:
    """Return the chosen optimizer for all groups that have parameters. Raise ConfigError for an unknown choice."""
    build = OPTIMIZERS.find(choice.name)
    return build([group for group in groups if group["params"]], lr, OPTIMIZERS.options(choice))
