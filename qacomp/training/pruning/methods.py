"""The interface of a pruning method, and the registry of all pruning methods."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.optim import Optimizer

from qacomp.errors import ConfigError
from qacomp.options.declaration import NOT_NEGATIVE, Bounds, Option, option
from qacomp.options.method import MethodChoice
from qacomp.options.method_table import MethodTable
from qacomp.options.registry import Registry
from qacomp.training.descent import Descent
from qacomp.training.history import EpochRecord
from qacomp.training.loop import parameter_groups
from qacomp.training.objective import Objective
from qacomp.training.optimizers import make_optimizer, weight_decay_of
from qacomp.training.pruning.energy import StateSearch
from qacomp.training.pruning.units import Units
from qacomp.training.setup import TrainingSetup


@dataclass(frozen=True)
class PrunerOptions:
    """The hyper-parameters of every pruning method; one with more derives its own dataclass."""

    rate: float | None = option(
        None,
        Option(
            "Share of the parameters to prune.",
            bounds=Bounds(0, 1, open_low=True, open_high=True),
            shown="0.5; energy finds its own",
        ),
    )
    epochs: int | None = option(
        None, Option("Epochs of pruning and retraining.", bounds=NOT_NEGATIVE, shown="about 3,000 steps")
    )


@dataclass(frozen=True)
class PruningMasks:
    """`masks`: by parameter name, bool, False where the parameter is to be zero; `records`: one for each epoch.

    search: the search of energy pruning. If it is set, the network's values aren't zero yet: without its gates it is
    still the full network (F in the paper's table 1).
    """

    masks: Mapping[str, Tensor]
    records: list[EpochRecord]
    search: StateSearch | None = None


class Pruner(ABC):
    """A method that decides which parameters are pruned, with training or without."""

    name: ClassVar[str]
    default_rate: ClassVar[float | None] = None
    """The share of parameters to prune if no `rate` is given; None: the method finds the share itself."""
    needs_data: ClassVar[bool] = True
    from_scratch: ClassVar[Mapping[str, str]] = {}
    """The defaults of hyper-parameters where the network has random weights, if they differ from the declared ones."""

    def __init__(self, options: Any) -> None:
        """Take the hyper-parameters, an instance of the dataclass that the method was registered with."""
        self.options = options

    @property
    @abstractmethod
    def unit(self) -> str:
        """Return what is pruned: "weight" or "filter"."""

    @abstractmethod
    def train(self, model: nn.Module, units: Units, setup: TrainingSetup) -> PruningMasks:
        """Prune and retrain `model` in place for `options.epochs`; return the masks and the records of the epochs."""

    def masks(self, model: nn.Module, units: Units, rate: float) -> Mapping[str, Tensor]:
        """Return masks, by parameter name, that prune the share `rate` without training.

        Raises ConfigError for a method that needs data.
        """
        raise ConfigError(f"--prune {self.name}: needs data to train on; give --data")


PRUNERS: MethodTable[type[Pruner]] = MethodTable(
    "prune", PrunerOptions, Registry("pruning method", "qacomp.training.pruning", "qacomp.pruning")
)


def register_pruner(name: str, options: type[PrunerOptions] = PrunerOptions) -> Callable[[type[Pruner]], type[Pruner]]:
    """Return a class decorator that registers a pruning method as `--prune NAME`.

    options: the frozen dataclass, derived from PrunerOptions, that declares its hyper-parameters.
    """

    def add(cls: type[Pruner]) -> type[Pruner]:
        cls.name = name
        return PRUNERS.register(name, options)(cls)

    return add


def pruner_of(method: MethodChoice) -> Pruner:
    """Return the pruning method that `method` names, with its hyper-parameters; ConfigError for an unknown one."""
    return PRUNERS.find(method.name)(PRUNERS.options(method))


def train_pruned(
    model: nn.Module,
    setup: TrainingSetup,
    epochs: int | None,
    build: Callable[[Objective], Objective],
    watch: Callable[[Optimizer], None],
) -> list[EpochRecord]:
    """Train `model` in place while it is pruned; return a record for each epoch.

    epochs: of the resolved settings; build: makes the method's objective from the plain one; watch: registers the
    method's hooks with the optimizer.
    """
    c = setup.config
    assert epochs is not None
    objective = build(setup.objective({}))
    optimizer = make_optimizer(c.optimizer, parameter_groups(model, c.lr, weight_decay_of(c.optimizer)), c.lr)
    watch(optimizer)
    setup.zeros.keep_zero(model, optimizer)
    stage = setup.stage("prune", epochs, keep_best=False, descent=Descent.of(c.optimizer))
    return setup.train(model, stage, objective, optimizer)
