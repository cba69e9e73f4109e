"""Share a PyTorch network on grids, without labels: the smallest file at a quality, or the best network at a size."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from qacomp.calibration.synthetic import STEPS as IMAGE_STEPS
from qacomp.calibration.synthetic import has_statistics, synthetic_images
from qacomp.calibration.torch_model import TorchCalibration
from qacomp.calibration.tuning import STEPS as TUNING_STEPS
from qacomp.calibration.tuning import tune_small
from qacomp.datasets import load_dataset
from qacomp.errors import TargetNotReachedError
from qacomp.formats import SharedTensor
from qacomp.models.plain_modules import copied
from qacomp.options.file_size import file_size
from qacomp.options.needs import sharing_way
from qacomp.options.sharing_ways.rate_aware import RateAwareWay
from qacomp.rate.quality import DISTANCES
from qacomp.rate.search import largest_scale, scale_for_size
from qacomp.rate.sharing import RateSharing, calibrated_sharing
from qacomp.sharing.share import Packed
from qacomp.sources.probes import probe_inputs
from qacomp.sources.torch_source import TorchSource
from qacomp.stages.job import Job
from qacomp.stages.made import Made
from qacomp.stages.measure_network import measured_network
from qacomp.stages.size_of import tensor_bytes, whole_bytes
from qacomp.training.fine_tune import tune_shared
from qacomp.training.history import WeightHistory
from qacomp.training.parametrizations.shared import share_weight

_IMAGES, _SAMPLES = 256, 512  # calibration inputs that are generated, or taken from data
_ATTEMPTS = 4  # most trials until the file has the target size
_WITHIN = 0.01  # fraction of the target size by which the file may be smaller


@dataclass(frozen=True)
class _Calibrated:
    """A network's weights with their second moments and steps, and the calibration inputs that gave them."""

    sharing: RateSharing
    model: TorchCalibration
    inputs: Tensor


def network_by_rate(job: Job, source: TorchSource, weights: WeightHistory) -> Made:
    """Share the job's network on grids, and measure it. Raises TargetNotReachedError for a target out of reach."""
    found = _calibrated(job)
    sized = job.config.target_size is not None
    made = _sized(job, source, found, weights) if sized else _smallest(job, found, weights)
    return replace(made, meta={**made.meta, "calibration": found.model.text})


def _calibrated(job: Job) -> _Calibrated:
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
    return _Calibrated(sharing, calibration, inputs)


def _inputs(job: Job, model: nn.Module) -> tuple[Tensor, str]:
    """Return the calibration inputs (N, C, H, W), and a text that describes them: from data, else generated."""
    shape, seed = job.network.input_shape, job.config.seed
    data = None if job.session is None else job.session.dataset
    if job.config.calibration is not None:
        data = load_dataset(job.config.calibration)
    if data is not None:
        chosen = np.sort(np.random.default_rng(seed).permutation(len(data.train.x))[:_SAMPLES])
        images = job.network.preprocessing.apply(data.train.x[chosen])
        return torch.from_numpy(images), f"{len(chosen)} inputs of {data.spec} without their labels, seed {seed}"
    if has_statistics(model):
        with job.run.progress.task("images of its own", -(-_IMAGES // 128) * IMAGE_STEPS) as task:
            made = synthetic_images(model, shape, _IMAGES, seed, task.advance)
        return made.images, f"{_IMAGES} images made from the statistics of its batch norms, seed {seed}"
    drawn = torch.from_numpy(probe_inputs(job.network, _IMAGES, seed))
    return drawn, f"{_IMAGES} random inputs, seed {seed}"


def _smallest(job: Job, found: _Calibrated, weights: WeightHistory) -> Made:
    most = DISTANCES["balanced" if job.config.quality == "auto" else job.config.quality]

    def good(scale: float) -> bool:
        items = found.sharing.at(scale)
        return found.model.distance({name: item.dense() for name, item in items.items()}) <= most

    with job.run.stage("share"):
        scale = largest_scale(good)
    if scale is None:
        raise TargetNotReachedError(
            f"--quality {job.config.quality}: even the finest grids change the outputs too much; give --quality small"
        )
    return _made(job, found, scale, weights)


def _sized(job: Job, source: TorchSource, found: _Calibrated, weights: WeightHistory) -> Made:
    """Return the network whose file has the target size, or is up to 1 % smaller.

    Raises TargetNotReachedError if even the coarsest grids give a larger file.
    """
    config, asked = job.config, job.config.target_size or ""
    most = file_size(asked, source.size.fp32)

    def shared_bytes(scale: float) -> int:
        return tensor_bytes(found.sharing.at(scale), config)

    trial = _made(replace(job, session=None), found, 1.0, weights, tuned=False)
    rest = whole_bytes(trial, source, config) - shared_bytes(1.0)  # the graph, norms, biases, metadata
    scale = 1.0
    for _ in range(_ATTEMPTS):
        if most <= rest:
            raise TargetNotReachedError(
                f"--target-size {asked}: the graph, norms and metadata alone take {rest:,} bytes; give a larger size"
            )
        with job.run.stage("share"):
            scale = scale_for_size(shared_bytes, most - rest, start=scale)
        made = _made(job, found, scale, weights)
        size = whole_bytes(made, source, config)
        if most * (1 - _WITHIN) <= size <= most:
            return made
        rest = size - shared_bytes(scale)
    if size > most:
        raise TargetNotReachedError(f"--target-size {asked}: {size:,} bytes was reached at best; give a larger size")
    job.run.note(f"--target-size {asked}: the file has {size:,} bytes, since no other steps come nearer")
    return made


def _made(job: Job, found: _Calibrated, scale: float, weights: WeightHistory, tuned: bool = True) -> Made:
    model = copied(job.model)
    items = found.sharing.at(scale)
    shared = {name: item for name, item in items.items() if isinstance(item.value, SharedTensor)}
    _put_on(model, shared)
    before = copied(model)
    if tuned:
        job = _tune(job, found, model)
    selection = job.selection
    for layer in job.selection.layers:
        if layer.name not in shared:
            selection = selection.without(layer, found.sharing.unfit.get(layer.name, "it can't be put on a grid"))
    changed = replace(job, network=replace(job.network, model=model), selection=selection)
    return measured_network(changed, (before, model), weights)


def _tune(job: Job, found: _Calibrated, model: nn.Module) -> Job:
    """Train shared values, norms and biases: on labels if there is data, else towards the original's outputs."""
    way = sharing_way(job.config)
    if job.session is not None and job.config.tune_epochs:
        with job.run.stage("tune"):
            return job.told(tune_shared(model, job.session))
    if isinstance(way, RateAwareWay) and way.tuned:
        with job.run.stage("tune"), job.run.progress.task("tune on the same inputs", TUNING_STEPS) as task:
            inputs = found.inputs.to(_device(model))
            tune_small(model, job.original, inputs, job.config.seed, task.advance)
    return job


def _put_on(model: nn.Module, items: Mapping[str, Packed]) -> None:
    for name, item in items.items():
        assert isinstance(item.value, SharedTensor)
        share_weight(model, name, item.value.codebook, item.value.indices)


def _device(model: nn.Module) -> torch.device:
    return next((p.device for p in model.parameters()), torch.device("cpu"))
