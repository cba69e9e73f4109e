"""Magnitude pruning of single weights or of filters: step by step with retraining, or at once without data."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from qacomp.options.declaration import Option, option
from qacomp.training.pruning.magnitude import MagnitudeObjective, MaskSchedule, keep_pruned, mask_function
from qacomp.training.pruning.methods import Pruner, PrunerOptions, PruningMasks, register_pruner, train_pruned
from qacomp.training.pruning.units import Units
from qacomp.training.setup import TrainingSetup


@dataclass(frozen=True)
class MagnitudeOptions(PrunerOptions):
    """Hyper-parameters of magnitude."""

    unit: str = option("weight", Option("What is pruned.", choices=("weight", "filter")))
    scope: str = option(
        "layer", Option("Rank magnitudes within each layer, or over all layers.", choices=("layer", "global"))
    )


@register_pruner("magnitude", MagnitudeOptions)
class PruningByMagnitude(Pruner):
    """Deep Compression's first step on a gradual schedule: see `magnitude`."""

    options: MagnitudeOptions
    default_rate = 0.5
    needs_data = False

    @property
    def unit(self) -> str:
        """Return weight or filter."""
        return self.options.unit

    def train(self, model: nn.Module, units: Units, setup: TrainingSetup) -> PruningMasks:
        """Return the masks of the schedule's end."""
        c = setup.config
        assert c.prune_rate is not None
        find = mask_function(model, units, self.options.unit, self.options.scope)
        schedule = MaskSchedule(find, c.prune_rate)
        records = train_pruned(
            model,
            setup,
            lambda plain: MagnitudeObjective(**vars(plain), schedule_of_masks=schedule),
            lambda optimizer: keep_pruned(model, schedule, optimizer),
        )
        return PruningMasks(schedule.masks, records)

    def masks(self, model: nn.Module, units: Units, rate: float) -> Mapping[str, Tensor]:
        """Return the masks that keep the largest magnitudes."""
        return mask_function(model, units, self.options.unit, self.options.scope)(model, rate)
