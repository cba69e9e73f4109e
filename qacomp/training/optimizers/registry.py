"""The table of optimizers: a decorated function each, with the dataclass of its hyper-parameters."""

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

    groups: parameters with their own `lr` and `weight_decay`; lr: that of the rest; options: the hyper-parameters, of
    the frozen dataclass that declares them, `--optimizer NAME:HYPER_PARAMETER=VALUE`. The optimizer's state can be
    saved and goes on where it was.
    """
    return OPTIMIZERS.register(name, options)


def make_optimizer(choice: MethodChoice, groups: Groups, lr: float) -> Optimizer:
    """Return the chosen optimizer of the groups that have parameters. Raise ConfigError for what can't be chosen."""
    build = OPTIMIZERS.find(choice.name)
    return build([group for group in groups if group["params"]], lr, OPTIMIZERS.options(choice))
