"""Train a PyTorch network on its grids with a price on bits, then round it so that the file has the size asked for."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from qacomp.errors import TargetNotReachedError
from qacomp.evaluation.verdict import GOOD, UNMEASURED
from qacomp.formats import SharedTensor
from qacomp.models.plain_modules import copied
from qacomp.options.needs import limited
from qacomp.rate.search import largest_scale, scale_for_size
from qacomp.stages.limit_search import scale_within_limits, with_limits
from qacomp.stages.made import Made
from qacomp.stages.network_on_grids import NetworkOnGrids
from qacomp.stages.rounded_to_size import TrainedOnGrids, rounded_to_size
from qacomp.stages.scale_search import Asked, scale_for_quality
from qacomp.stages.trial_log import TrialLog
from qacomp.training.fine_tune_rate import fine_tune_rate

_FINER, _ROUGHLY = 1.2, 0.02  # factor on the final bytes for the grids at the start of training; tolerance of that
_ALIVE = 0.5  # how far outputs may move on these grids: a network that rounding has silenced gets no gradient
_OF_UNTRAINED = 0.7  # target size with labels, relative to the size that the quality takes without training


def trained_by_rate(task: NetworkOnGrids) -> Made:
    """Train the network on its grids with a price on bits, then round its weights to reach the target size."""
    job = task.job
    assert job.session is not None
    if job.config.target_size is None:
        fine = task.bytes_of(task.at(_untrained_scale(task)))
        rest = task.rest()
        asked = Asked("", int(rest + _OF_UNTRAINED * fine))
    else:
        asked, rest = task.asked(), task.rest()
    left = asked.left(rest)
    with job.run.stage("share"):
        scale = scale_for_size(lambda s: task.bytes_of(task.plain(s)), int(_FINER * left), within=_ROUGHLY)
        alive = largest_scale(lambda s: task.distance(task.plain(s)) <= _ALIVE, start=scale)
    if alive is None:
        raise TargetNotReachedError(
            "--sharing rate: on every grid the outputs are too far from the original's to train on; give --epochs 0"
        )
    scale = min(scale, alive)
    items = task.plain(scale)
    steps = {n: task.found.sharing.step(n, scale) for n, i in items.items() if isinstance(i.value, SharedTensor)}

    def coder(integers: Mapping[str, NDArray[np.int64]]) -> int:
        return task.bytes_of(task.found.sharing.on_grids(integers, scale))

    model = copied(job.model)
    with job.run.stage("fine-tune"):
        trained, records = fine_tune_rate(model, steps, left, coder, job.session)
    on_grids = TrainedOnGrids(model, trained, scale)
    made, validation = rounded_to_size(replace(task, job=job.told(records)), on_grids, asked)
    if validation is not None:
        return with_limits(made, validation, job.config, job.run)
    verdict = made.measured.verdict
    if job.config.target_size is None and job.config.quality != "small" and verdict.word not in (GOOD, UNMEASURED):
        return replace(made, missed=f"--quality: isn't met after training ({verdict}); give --epochs 0, or more epochs")
    return made


def _untrained_scale(task: NetworkOnGrids) -> float:
    """Return the scale that the quality, or the limit on the loss of accuracy, takes without training and tuning."""
    config, run = task.job.config, task.job.run
    if limited(config):
        return scale_within_limits(TrialLog(task.scaled(tuned=False)), config, run)
    return scale_for_quality(task.scaled().distance, config, run)
