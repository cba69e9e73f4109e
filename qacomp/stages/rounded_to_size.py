"""Round a trained network with dead zones around zero that give its file the size that is asked for."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from torch import nn

from qacomp.formats import SharedTensor
from qacomp.options.needs import limited
from qacomp.rate.compensation import with_dead_zone
from qacomp.rate.search import scale_for_size
from qacomp.sharing.share import Packed
from qacomp.stages.made import Made
from qacomp.stages.network_on_grids import NetworkOnGrids
from qacomp.stages.scale_search import ATTEMPTS, Asked
from qacomp.stages.validation import Validation
from qacomp.training.fine_tune_rate import OnGrid

_MOVED = 2.0**-6  # part by which values differ from their grid: more than half precision rounds away
_LEAST_DEAD = 0.9  # the narrowest dead zones that are tried, relative to those of the training


@dataclass(frozen=True)
class TrainedOnGrids:
    """A network trained on its grids. model: has its other parameters; weights: by name; scale: of the steps."""

    model: nn.Module
    weights: Mapping[str, OnGrid]
    scale: float


def rounded_to_size(task: NetworkOnGrids, trained: TrainedOnGrids, asked: Asked) -> tuple[Made, Validation | None]:
    """Return the trained network in a file of the target size; its dead zones are widened or narrowed together.

    Then norms, biases and shared values are tuned. The second result is measured on the validation split, None without
    a limit. Raises TargetNotReachedError for a size out of reach.
    """

    def items_at(wider: float) -> dict[str, Packed]:
        integers = {name: with_dead_zone(w.multiples, w.dead * wider) for name, w in trained.weights.items()}
        return task.found.sharing.on_grids(integers, trained.scale)

    items, tuned = items_at(1.0), False
    for _ in range(ATTEMPTS):
        built = task.built(items if tuned else off_grids(items), tuned=tuned, model=trained.model)
        validation = task.validated(built) if limited(task.job.config) else None
        made = task.measured(built)
        size = task.whole(made)
        if tuned and (task.job.config.target_size is None or asked.is_met(size)):
            return made, validation
        with task.job.run.stage("share"):
            left = asked.left(size - task.bytes_of(items))
            wider = max(_LEAST_DEAD, scale_for_size(lambda w: task.bytes_of(items_at(w)), left))
        if tuned and wider == _LEAST_DEAD:
            break
        items, tuned = items_at(wider), True
    return asked.nearest(made, size), validation


def off_grids(items: Mapping[str, Packed]) -> dict[str, Packed]:
    """Return the tensors with shared values that lie on no grid, as tuned ones do, so that they take as many bytes."""

    def moved(item: Packed) -> Packed:
        if not isinstance(item.value, SharedTensor):
            return item
        book = item.value.codebook
        factors = 1 + _MOVED * np.sin(np.arange(book.size)).reshape(book.shape)  # different ones; zeros stay zero
        return replace(item, value=replace(item.value, codebook=(book * factors).astype(book.dtype)))

    return {name: moved(item) for name, item in items.items()}
