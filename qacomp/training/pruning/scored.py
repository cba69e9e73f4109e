"""Base classes: pruning on magnitude's gradual schedule, and pruning of single weights by a method's own score."""

from abc import abstractmethod
from collections.abc import Mapping

from torch import Tensor, nn

from qacomp.training.pruning.magnitude import MagnitudeObjective, MaskSchedule, keep_pruned, weight_masks
from qacomp.training.pruning.methods import Pruner, PruningMasks, train_pruned
from qacomp.training.pruning.units import Units
from qacomp.training.setup import TrainingSetup


class ScheduledPruner(Pruner):
    """A pruning method that prunes step by step, on magnitude's gradual schedule, while the network is trained."""

    default_rate = 0.5
    needs_data = False

    def train(self, model: nn.Module, units: Units, setup: TrainingSetup) -> PruningMasks:
        """Prune on the schedule and retrain, in place; return the last masks, and the records of the epochs."""
        rate = self.options.rate
        assert rate is not None
        schedule = MaskSchedule(lambda model, rate: dict(self.masks(model, units, rate)), rate)
        records = train_pruned(
            model,
            setup,
            self.options.epochs,
            lambda plain: MagnitudeObjective(**vars(plain), schedule_of_masks=schedule),
            lambda optimizer: keep_pruned(model, schedule, optimizer),
        )
        schedule.update(model, 1.0)  # the rest, where the training had too few steps for the whole schedule
        return PruningMasks(schedule.masks, records)


class ScoredPruner(ScheduledPruner):
    """A pruning method that scores the importance of each weight; the least important weights of each layer are pruned.

    The same share is pruned in each layer.
    """

    @property
    def unit(self) -> str:
        """Return "weight"."""
        return "weight"

    @abstractmethod
    def score(self, weight: Tensor) -> Tensor:
        """Return the importance of each weight: not negative, in the weight's shape and dtype."""

    def masks(self, model: nn.Module, units: Units, rate: float) -> Mapping[str, Tensor]:
        """Return the masks, by parameter name, that keep the weights with the largest scores."""
        return weight_masks(model, units, rate, "layer", self.score)
