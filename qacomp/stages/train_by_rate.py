"""Train a PyTorch network on its grids with a price on bits, then round it so that the file has the size asked for."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from qacomp.batches.images import ImageExamples
from qacomp.calibration.synthetic import batch_norms
from qacomp.errors import TargetNotReachedError
from qacomp.evaluation.verdict import GOOD, UNMEASURED
from qacomp.formats import SharedTensor
from qacomp.models.flexible import FlexibleModel
from qacomp.models.plain_modules import copied
from qacomp.options.config import CompressConfig
from qacomp.options.needs import limited
from qacomp.rate.search import largest_scale, scale_for_size
from qacomp.stages.job import Job
from qacomp.stages.limit_search import scale_within_limits, with_limits
from qacomp.stages.made import Made
from qacomp.stages.network_on_grids import NetworkOnGrids
from qacomp.stages.rounded_to_size import TrainedOnGrids, rounded_to_size
from qacomp.stages.scale_search import Asked, scale_for_quality
from qacomp.stages.train_unlabelled import grid_starts
from qacomp.stages.trial_log import TrialLog
from qacomp.training.course import Labelled
from qacomp.training.fine_tune_rate import fine_tune_rate
from qacomp.training.history import EpochRecord
from qacomp.training.setup import TrainingSetup
from qacomp.training.task import CLASSIFYING
from qacomp.training.towards_original import ImitationSetup, train_towards

_FINER, _ROUGHLY = 1.2, 0.02  # factor on the final bytes for the grids at the start of training; tolerance of that
_ALIVE = 0.5  # how far outputs may move on these grids: a network that rounding has silenced gets no gradient
_ABOVE = 1.01  # factor on the bytes for weights: training aims a little above, and a dead zone brings the file down
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
    on_grids, records = _towards_original(task, left) or _on_the_task(task, left)
    made, validation = rounded_to_size(replace(task, job=job.told(records)), on_grids, asked)
    if validation is not None:
        return with_limits(made, validation, job.config, job.run)
    verdict = made.measured.verdict
    if job.config.target_size is None and job.config.quality != "small" and verdict.word not in (GOOD, UNMEASURED):
        return replace(made, missed=f"--quality: isn't met after training ({verdict}); give --epochs 0, or more epochs")
    return made


def _on_the_task(task: NetworkOnGrids, left: int) -> tuple[TrainedOnGrids, Sequence[EpochRecord]]:
    """Train by the loss of the task, with the options' optimizer. left: bytes that the weights may take."""
    job = task.job
    assert job.session is not None
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
        trained, records = fine_tune_rate(model, steps, _ABOVE * left, coder, job.session)
    return TrainedOnGrids(model, trained, scale), records


def _towards_original(task: NetworkOnGrids, left: int) -> tuple[TrainedOnGrids, Sequence[EpochRecord]] | None:
    """Train towards the original and its batch norms from compensated weights, None where that doesn't fit."""
    job, sharing = task.job, task.found.sharing
    if job.session is None or not _imitates(job, job.session):
        return None
    with job.run.stage("share"):
        scale = scale_for_size(lambda s: task.bytes_of(task.at(s)), left, within=_ROUGHLY)
        starts = grid_starts(task, scale)
        if not starts or task.distance(task.at(scale)) > _ALIVE:
            return None

    def coder(integers: Mapping[str, NDArray[np.int64]]) -> int:
        return task.bytes_of(sharing.on_grids(integers, scale))

    model = copied(job.model)
    setup = ImitationSetup(
        job.original, Labelled(job.session), job.config, job.run.progress, job.session.store, job.zeros
    )
    job.run.note("trained towards the original's batch norms too, by Adam; --lr or --optimizer chooses another way")
    with job.run.stage("fine-tune"):
        trained, records = train_towards(model, starts, _ABOVE * left, coder, setup)
    return TrainedOnGrids(model, trained, scale), records


def _imitates(job: Job, session: TrainingSetup) -> bool:
    """Return whether a network of images learns by --distill kd alone, with no option that asks for another way."""
    c, usual = job.config, CompressConfig()
    asked = c.reg.chosen or c.prune.chosen or c.quantizer.chosen or c.lr != usual.lr or c.optimizer != usual.optimizer
    taught = c.distill.name == "kd" and not session.untaught and session.ranks.size == 1
    classifies = isinstance(session.examples, ImageExamples) and session.task == CLASSIFYING
    simple = not isinstance(job.original, FlexibleModel) and bool(batch_norms(job.original))
    return taught and classifies and simple and not asked


def _untrained_scale(task: NetworkOnGrids) -> float:
    """Return the scale that the quality, or the limit on the loss of accuracy, takes without training and tuning."""
    config, run = task.job.config, task.job.run
    if limited(config):
        return scale_within_limits(TrialLog(task.scaled(tuned=False)), config, run)
    return scale_for_quality(task.scaled().distance, config, run)
