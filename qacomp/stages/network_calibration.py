"""Calibrate a PyTorch network for rate-aware sharing: inputs, second moments of layers' inputs, a step per tensor."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from qacomp.calibration.given_images import given_inputs, some_of
from qacomp.calibration.synthetic import STEPS, has_statistics, synthetic_images
from qacomp.calibration.torch_model import TorchCalibration
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
    inputs: Tensor


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


def _inputs(job: Job, model: nn.Module) -> tuple[Tensor, str]:
    """Return the calibration inputs (N, C, H, W), and a text that describes them: from data, else generated."""
    shape, seed = job.network.input_shape, job.config.seed
    if job.config.calibration is not None:
        given = given_inputs(job.config.calibration, job.network.preprocessing, _SAMPLES, seed)
        return torch.from_numpy(given), _said(len(given), job.config.calibration, seed)
    if job.session is not None:
        data = job.session.dataset
        images = job.network.preprocessing.apply(some_of(data.train.x, _SAMPLES, seed))
        return torch.from_numpy(images), _said(len(images), data.spec, seed)
    if has_statistics(model):
        with job.run.progress.task("images of its own", -(-_IMAGES // 128) * STEPS) as task:
            unpruned = copied(job.original).cpu().eval()  # pruning without data leaves statistics that no longer hold
            made = synthetic_images(unpruned, shape, _IMAGES, seed, task.advance)
        return made.images, f"{_IMAGES} images made from the statistics of its batch norms, seed {seed}"
    drawn = torch.from_numpy(probe_inputs(job.network, _IMAGES, seed))
    return drawn, f"{_IMAGES} random inputs, seed {seed}"


def _said(count: int, spec: str, seed: int) -> str:
    return f"{count} inputs of {spec} without their labels, seed {seed}"
