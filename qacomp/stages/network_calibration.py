"""Calibrate a PyTorch network for rate-aware sharing: inputs, second moments of layers' inputs, a step per tensor."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

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
from qacomp.rate.sharing import RateSharing, calibrated_sharing
from qacomp.sources.probes import probe_inputs
from qacomp.stages.job import Job

_IMAGES, _SAMPLES = 256, 512  # calibration inputs that are generated, or taken from data


@dataclass(frozen=True)
class CalibratedNetwork:
    """A network's weights with their second moments and steps, and the calibration inputs that gave them."""

    sharing: RateSharing
    model: TorchCalibration
    inputs: list[Feed]


def calibrate(job: Job) -> CalibratedNetwork:
    """Return the calibration of a copy of the job's present network; the job's own module is not changed."""
    model = copied(job.model).cpu().eval()
    with job.run.stage("calibrate"):
        inputs, text = _inputs(job, model)
        calibration = TorchCalibration(model, inputs, text, job.config.seed)
        state = model.state_dict()
        sharing = calibrated_sharing(
            {layer.name: layer for layer in job.selection.layers},
            lambda name: state[name].numpy(),
            calibration,
            job.config.stored_precision,
            job.run.progress,
        )
    job.run.note(f"calibrated on {text}")
    return CalibratedNetwork(sharing, calibration, inputs)


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
        with job.run.progress.task("images of its own", -(-_IMAGES // 128) * STEPS) as task:
            unpruned = copied(job.original).cpu().eval()  # pruning without data leaves statistics that no longer hold
            made = synthetic_images(unpruned, shape, _IMAGES, seed, task.advance)
        return [made.images], f"{_IMAGES} images made from the statistics of its batch norms, seed {seed}"
    drawn = torch.from_numpy(probe_inputs(job.network, _IMAGES, seed))
    return [drawn], f"{_IMAGES} random inputs, seed {seed}"


def _given(job: Job, spec: str) -> tuple[list[Feed], str]:
    """Return the inputs of --calibration: images of a data spec, or batches of a function of the user's own."""
    seed = job.config.seed
    if job.network.preprocessing is None:
        feeds = some_feeds(load_examples(_called(spec), job.original, spec).train, _SAMPLES)
        return feeds, _said(sum(map(count_of, feeds)), spec, None)
    given = given_inputs(spec, job.network.preprocessing, _SAMPLES, seed)
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
