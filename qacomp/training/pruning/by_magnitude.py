"""Magnitude pruning of weights or filters: step by step with retraining, or in one step without data."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from qacomp.options.declaration import Option, option
from qacomp.training.pruning.magnitude import mask_function
from qacomp.training.pruning.methods import PrunerOptions, register_pruner
from qacomp.training.pruning.scored import ScheduledPruner
from qacomp.training.pruning.units import Units


@dataclass(frozen=True)
class MagnitudeOptions(PrunerOptions):
    """Hyper-parameters of magnitude."""

    unit: str = option(
        "weight", Option("What is pruned: single weights or whole filters.", choices=("weight", "filter"))
    )
    scope: str = option(
        "layer", Option("Rank magnitudes within each layer, or over all layers.", choices=("layer", "global"))
    )


@register_pruner("magnitude", MagnitudeOptions)
class PruningByMagnitude(ScheduledPruner):
    """Deep Compression's magnitude pruning on a gradual schedule: see `magnitude`."""

    options: MagnitudeOptions

    @property
    def unit(self) -> str:
        """Return "weight" or "filter"."""
        return self.options.unit

    def masks(self, model: nn.Module, units: Units, rate: float) -> Mapping[str, Tensor]:
        """Return the masks, by parameter name, that keep the largest magnitudes; rate: the share that is pruned."""
        return mask_function(model, units, self.options.unit, self.options.scope)(model, rate)
