"""Round a trained network with dead zones around zero that give its file the size that is asked for."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from qacomp.options.needs import limited
from qacomp.rate.compensation import with_dead_zone
from qacomp.rate.search import scale_for_size
from qacomp.sharing.share import Packed
from qacomp.stages.made import Made
from qacomp.stages.network_on_grids import NetworkOnGrids
from qacomp.stages.scale_search import ATTEMPTS, Asked
from qacomp.stages.validation import Validation
from qacomp.training.fine_tune_rate import OnGrid

_LEAST_DEAD = 0.9  # the narrowest dead zones that are tried, relative to those of the training


@dataclass(frozen=True)
class TrainedOnGrids:
    """A network trained on its grids. model: has its other parameters; weights: by name; scale: of the steps."""

    model: nn.Module
    weights: Mapping[str, OnGrid]
    scale: float


def rounded_to_size(task: NetworkOnGrids, trained: TrainedOnGrids, asked: Asked) -> tuple[Made, Validation | None]:
    """Return the trained network in a file of the target size; its dead zones are widened or narrowed together.

    Then norms and biases are tuned. Weights stay on their grids: a step alone takes hundreds of bytes less than tuned
    values. The second result is measured on the validation split, None without a limit. Raises TargetNotReachedError
    for a size out of reach.
    """

    def items_at(wider: float) -> dict[str, Packed]:
        integers = {name: with_dead_zone(w.multiples, w.dead * wider) for name, w in trained.weights.items()}
        return task.found.sharing.on_grids(integers, trained.scale)

    items, tuned = items_at(1.0), False
    for _ in range(ATTEMPTS):
        built = task.built(items, tuned=tuned, model=trained.model)
        validation = task.validated(built) if limited(task.job.config) else None
        made = task.measured(built)
        size = task.whole(made)
        if tuned and (task.job.config.target_size is None or asked.is_met(size)):
            return made, validation
        with task.job.run.stage("share"):
            left = asked.left(size - task.bytes_of(items))
            met = not tuned and asked.is_met(size)  # as trained, then: all weights that were zero stay zero
            wider = 1.0 if met else max(_LEAST_DEAD, scale_for_size(lambda w: task.bytes_of(items_at(w)), left))
        if tuned and wider == _LEAST_DEAD:
            break
        items, tuned = items_at(wider), True
    return asked.nearest(made, size), validation
