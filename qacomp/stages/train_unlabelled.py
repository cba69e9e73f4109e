"""Train a PyTorch network on its grids without labels, and keep it where inputs that were held back say that it pays.

The network that is only compensated and tuned is made first. It sets the size, is where training starts, and is kept
where training brings the outputs no closer to the original's.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from qacomp.calibration.tuning import output_loss
from qacomp.errors import TargetNotReachedError
from qacomp.evaluation.verdict import GOOD
from qacomp.formats import SharedTensor
from qacomp.models.plain_modules import copied
from qacomp.rate.grid_form import MOST_VALUES, distinct
from qacomp.rate.search import scale_for_size
from qacomp.stages.made import Made
from qacomp.stages.network_on_grids import NetworkOnGrids
from qacomp.stages.rounded_to_size import TrainedOnGrids, rounded_to_size
from qacomp.stages.scale_search import Asked, made_for_quality, made_for_size
from qacomp.training.loop import DivergedError
from qacomp.training.unlabelled import GridStart, UnlabelledSetup, train_unlabelled

_OF_UNTRAINED = 0.85  # bytes of the weights with --quality, relative to those that it takes without training
_BATCH = 128


def trained_unlabelled(task: NetworkOnGrids) -> Made:
    """Return the network of a size or a quality, trained towards the original's outputs if that brings it closer.

    With --quality the trained network must be smaller, and no further from the original.
    """
    job, found = task.job, task.found
    assert found.training is not None and found.held is not None
    by_quality = job.config.target_size is None
    if by_quality:
        plain = made_for_quality(task.scaled(), job.config, job.run)
    else:
        plain = made_for_size(task.scaled(), task.rest(), task.asked(), job.run)
    assert plain.search is not None and plain.search.of_file is not None
    chosen, weights = plain.search.of_file.scale, plain.search.of_file.weight_bytes
    assert weights is not None  # the search ended there
    whole = task.whole(plain)
    goal = int(_OF_UNTRAINED * weights) if by_quality else task.asked().left(whole - weights)
    with job.run.stage("share"):
        scale = scale_for_size(lambda s: task.bytes_of(task.at(s)), goal, start=chosen)
    trained = _trained(task, scale, goal, Asked("", whole - weights + goal) if by_quality else task.asked())
    if trained is None:
        return plain
    before, after = (_distance(task, made) for made in (plain, trained))
    inputs = f"{len(found.training)} inputs, by {len(found.held)} others"
    kept = after < before and _no_worse(trained, plain)
    told = f"output distance {after:.4g} trained on {inputs}, {before:.4g} untrained"
    job.run.note(f"{told}: the {'trained' if kept else 'untrained'} network is kept")
    return replace(trained, search=plain.search) if kept else plain


def _no_worse(trained: Made, plain: Made) -> bool:
    """Return whether the trained network meets what is asked for, if the other one does, and is judged as well."""
    words = trained.measured.verdict.word, plain.measured.verdict.word
    return not (trained.missed and not plain.missed) and words[0] in (words[1], GOOD)


def _trained(task: NetworkOnGrids, scale: float, goal: int, asked: Asked) -> Made | None:
    """Return the network trained from its compensated weights at a scale; None if nothing could be trained."""
    job, sharing, inputs = task.job, task.found.sharing, task.found.training
    assert inputs is not None
    items = {name: item.value for name, item in task.at(scale).items()}
    integers = {name: q for name, q in sharing.integers(scale).items() if isinstance(items[name], SharedTensor)}
    starts = {
        name: GridStart(sharing.step(name, scale), q)
        for name, q in integers.items()
        if distinct(q)[0].size <= MOST_VALUES
    }
    if not starts:
        return None

    def coder(integers: Mapping[str, NDArray[np.int64]]) -> int:
        return task.bytes_of(sharing.on_grids(integers, scale))

    model = copied(job.model)
    device = next(model.parameters()).device
    setup = UnlabelledSetup(job.original, inputs.to(device), job.config, job.run.progress, job.store, job.zeros)
    try:
        with job.run.stage("fine-tune"):
            trained, records = train_unlabelled(model, starts, goal, coder, setup)
        on_grids = TrainedOnGrids(model, trained, scale)
        return rounded_to_size(replace(task, job=job.told(records)), on_grids, asked)[0]
    except (DivergedError, TargetNotReachedError) as error:
        job.run.note(f"{error}; the untrained network is kept")
        return None


def _distance(task: NetworkOnGrids, made: Made) -> float:
    """Return how far the outputs of a network are from the original's, on the inputs that were held back."""
    held = task.found.held
    assert held is not None and made.network is not None
    networks: tuple[nn.Module, nn.Module] = (task.job.original, made.network)
    total = 0.0
    with torch.no_grad():
        for start in range(0, len(held), _BATCH):
            part = held[start : start + _BATCH].to(next(made.network.parameters()).device)
            wanted, found = (network(part) for network in networks)
            total += len(part) * float(output_loss(found, wanted))
    return total / len(held)
