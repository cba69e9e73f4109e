"""Calibrate a PyTorch network for rate-aware sharing: inputs, second moments of layers' inputs, a step per tensor."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from qacomp.batches.feed import Feed, count_of
from qacomp.batches.given import load_examples
from qacomp.batches.images import ImageExamples
from qacomp.calibration.given_images import given_inputs, some_of
from qacomp.calibration.synthetic import STEPS, has_statistics, synthetic_images
from qacomp.calibration.torch_model import TorchCalibration
from qacomp.datasets.custom import call_custom
from qacomp.errors import DataError
from qacomp.evaluation.on_batches import some_feeds
from qacomp.models.plain_modules import copied
from qacomp.rate.guard import both_ways_or_inputs
from qacomp.rate.kept import Watch
from qacomp.rate.sharing import RateSharing, calibrated_sharing
from qacomp.sources.probes import probe_inputs
from qacomp.stages.job import Job
from qacomp.stages.made_images import MadeImages
from qacomp.stages.near_a_base import with_base

_IMAGES, _SAMPLES = 256, 512  # calibration inputs that are generated, or taken from data
_MADE = 128  # images that are made, and mirrored: 256 took twice the time, and outputs on real images were no nearer
_TO_TRAIN_ON, _MOST_TO_TRAIN_ON = 1024, 8192  # generated, or given, if weights are trained on them
_MOST_PIXELS = 1 << 26  # of generated or given inputs together: 256 MiB
_HELD, _LEAST = 1 / 8, 16  # part of them that is held back; fewest inputs to train on


@dataclass(frozen=True)
class CalibratedNetwork:
    """A network's weights with their second moments and steps, and the calibration inputs that gave them.

    training, held: the inputs to train on, which begin with those, and others that judge the training; None without.
    """

    sharing: RateSharing
    model: TorchCalibration
    inputs: list[Feed]
    training: Tensor | None = None
    held: Tensor | None = None


def calibrate(job: Job) -> CalibratedNetwork:
    """Return the calibration of a copy of the job's present network; the job's own module is not changed.

    Raises DataError for inputs that are too few to train on.
    """
    model = copied(job.model).cpu().eval()
    with job.run.stage("calibrate"):
        found, text = _inputs(job, model)
        training, held = _divided(found, job) if _trains(job) else (None, None)
        few = _IMAGES if job.config.calibration is None else _SAMPLES
        inputs: list[Feed] = found if training is None else [training[:few]]
        calibration = TorchCalibration(model, inputs, text, job.config.seed, job.run.note)
        state = model.state_dict()
        sharing = calibrated_sharing(
            {layer.name: layer for layer in job.selection.layers},
            lambda name: state[name].numpy(),
            calibration,
            job.config.stored_precision,
            Watch(job.run.progress, job.run.journal.under(calibration.digest)),
        )
        sharing = both_ways_or_inputs(sharing, calibration.distance_elsewhere, job.run.note)
    job.run.note(f"calibrated on {text}")
    near = with_base(sharing, job.selection, job.run.note)
    return CalibratedNetwork(near, calibration, inputs, training, held)


def _trains(job: Job) -> bool:
    """Return whether weights are trained on these inputs, without labels."""
    return job.session is None and bool(job.config.epochs)


def _count(job: Job, shape: Sequence[int], usual: int, most: int) -> int:
    """Return how many inputs are wanted: `usual` without training, else up to `most`, fewer of a large shape."""
    if not _trains(job):
        return usual
    return min(most, max(usual, _MOST_PIXELS // math.prod(shape)))


def _divided(feeds: list[Feed], job: Job) -> tuple[Tensor, Tensor]:
    """Return the inputs to train on, and those that are held back. Raises DataError if there are too few, or others."""
    (inputs,) = feeds if len(feeds) == 1 else (None,)
    if not isinstance(inputs, Tensor) or not inputs.is_floating_point():
        raise DataError("--epochs: without data only a network of one input of images is trained; give --epochs 0")
    held = int(len(inputs) * _HELD)
    if len(inputs) < _LEAST:
        raise DataError(
            f"{job.config.calibration}: {len(inputs)} inputs are too few to train on; give at least {_LEAST}, or "
            "--epochs 0"
        )
    return inputs[:-held], inputs[-held:]


def _inputs(job: Job, model: nn.Module) -> tuple[list[Feed], str]:
    """Return the calibration inputs, and a text that describes them: from data, else generated."""
    seed = job.config.seed
    if job.config.calibration is not None:
        return _given(job, job.config.calibration)
    if job.session is not None:
        data = job.session.examples
        if not isinstance(data, ImageExamples):
            feeds = some_feeds(data.train, _SAMPLES)
            return feeds, _said(sum(map(count_of, feeds)), data.spec, None)
        images = data.preprocessing.apply(some_of(data.dataset.train.x, _SAMPLES, seed))
        return [torch.from_numpy(images)], _said(len(images), data.spec, seed)
    shape, _ = job.network.images
    if has_statistics(model):
        mirrored = len(shape) == 3 and not _trains(job)
        count = _count(job, shape, _MADE if mirrored else _IMAGES, _TO_TRAIN_ON)
        with job.run.progress.task("images of its own", -(-count // 128) * STEPS) as task:
            unpruned = copied(job.original).cpu().eval()  # pruning without data leaves statistics that no longer hold
            made = synthetic_images(unpruned, shape, count, seed, task.advance, MadeImages(job.run.journal))
        text = f"{count} images made from the statistics of its batch norms, seed {seed}"
        if not mirrored:
            return [made.images], text
        return [torch.cat([made.images, made.images.flip(3)])], f"{text}, and their mirror images"
    drawn = torch.from_numpy(probe_inputs(job.network, _IMAGES, seed))
    return [drawn], f"{_IMAGES} random inputs, seed {seed}"


def _given(job: Job, spec: str) -> tuple[list[Feed], str]:
    """Return the inputs of --calibration: images of a data spec, or batches of a function of the user's own."""
    seed = job.config.seed
    if job.network.preprocessing is None:
        feeds = some_feeds(load_examples(_called(spec), job.original, spec).train, _SAMPLES)
        return feeds, _said(sum(map(count_of, feeds)), spec, None)
    most = _count(job, job.network.preprocessing.input_shape, _SAMPLES, _MOST_TO_TRAIN_ON)
    given = given_inputs(spec, job.network.preprocessing, most, seed)
    return [torch.from_numpy(given)], _said(len(given), spec, seed)


def _called(spec: str) -> Any:
    module, _, function = spec.partition(":")
    found = call_custom(module, function) if function else None
    if found is None:
        raise DataError(f"--calibration {spec}: the network takes no images; give module:function")
    return found


def _said(count: int, spec: str, seed: int | None) -> str:
    text = f"{count} inputs of {spec} without their labels"
    return text if seed is None else f"{text}, seed {seed}"
