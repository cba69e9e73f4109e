"""What a pruning method is, and the table of those that exist."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.optim import Optimizer

from qacomp.errors import ConfigError
from qacomp.options.method import MethodChoice
from qacomp.options.method_table import MethodTable
from qacomp.options.registry import Registry
from qacomp.training.history import EpochRecord
from qacomp.training.loop import parameter_groups
from qacomp.training.objective import Objective
from qacomp.training.optimizers import make_optimizer
from qacomp.training.pruning.energy import StateSearch
from qacomp.training.pruning.units import Units
from qacomp.training.setup import TrainingSetup


@dataclass(frozen=True)
class PrunerOptions:
    """Hyper-parameters of a pruning method that has none, from which each method's own are derived."""


@dataclass(frozen=True)
class PruningMasks:
    """`masks`: by parameter name, False where it is to be zero. The network's values aren't zeroed yet where `search`
    is set: without its gates it is the full network (Table 1's F)."""

    masks: Mapping[str, Tensor]
    records: list[EpochRecord]
    search: StateSearch | None = None


class Pruner(ABC):
    """A way to say which parameters go, with training or without."""

    name: ClassVar[str]
    default_rate: ClassVar[float | None] = None
    """The share of the parameters that goes where none is given; None: the method finds its own."""
    needs_data: ClassVar[bool] = True

    def __init__(self, options: Any) -> None:
        """Take the hyper-parameters, of the dataclass that the method was registered with."""
        self.options = options

    @property
    @abstractmethod
    def unit(self) -> str:
        """Return what is pruned: weight or filter."""

    @abstractmethod
    def train(self, model: nn.Module, units: Units, setup: TrainingSetup) -> PruningMasks:
        """Prune and retrain for --prune-epochs, in place."""

    def masks(self, model: nn.Module, units: Units, rate: float) -> Mapping[str, Tensor]:
        """Return masks at a rate without training, where `needs_data` is False."""
        raise ConfigError(f"--prune {self.name}: needs data to train on: give --data")


PRUNERS: MethodTable[type[Pruner]] = MethodTable(
    "prune", PrunerOptions, Registry("pruning method", "qacomp.training.pruning", "qacomp.pruning")
)


def register_pruner(name: str, options: type[PrunerOptions] = PrunerOptions) -> Callable[[type[Pruner]], type[Pruner]]:
    """Return a class decorator that makes a pruning method known as `--prune NAME`.

    options: the frozen dataclass that declares its hyper-parameters, derived from PrunerOptions.
    """

    def add(cls: type[Pruner]) -> type[Pruner]:
        cls.name = name
        return PRUNERS.register(name, options)(cls)

    return add


def pruner_of(method: MethodChoice) -> Pruner:
    """Return the pruning method that a choice names, with its hyper-parameters. Raise ConfigError."""
    return PRUNERS.find(method.name)(PRUNERS.options(method))


def train_pruned(
    model: nn.Module,
    setup: TrainingSetup,
    build: Callable[[Objective], Objective],
    watch: Callable[[Optimizer], None],
) -> list[EpochRecord]:
    """Train while pruning. `build` makes the objective from the plain one, `watch` puts its hooks on the optimizer."""
    c = setup.config
    assert c.prune_epochs is not None
    objective = build(setup.objective({}))
    optimizer = make_optimizer(c.optimizer, parameter_groups(model, c.lr, c.weight_decay), c.lr)
    watch(optimizer)
    setup.zeros.keep_zero(model, optimizer)
    return setup.train(model, setup.stage("prune", c.prune_epochs, keep_best=False), objective, optimizer)
