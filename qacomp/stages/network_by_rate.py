"""Share a PyTorch network on grids: the smallest file at a quality, or the best network of a size."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from qacomp.calibration.tuning import STEPS as TUNING_STEPS
from qacomp.calibration.tuning import tune_small
from qacomp.errors import TargetNotReachedError
from qacomp.evaluation.verdict import GOOD, UNMEASURED
from qacomp.formats import SharedTensor
from qacomp.models.plain_modules import copied
from qacomp.options.needs import sharing_way, sized_levels
from qacomp.options.sharing_ways.rate_aware import RateAwareWay
from qacomp.rate.compensation import with_dead_zone
from qacomp.rate.search import largest_scale, scale_for_size
from qacomp.sharing.share import Packed, kept_unless_smaller
from qacomp.sources.torch_source import TorchSource
from qacomp.stages.job import Job
from qacomp.stages.made import Made
from qacomp.stages.measure_network import measured_network
from qacomp.stages.network_calibration import CalibratedNetwork, calibrate
from qacomp.stages.network_levels_by_rate import network_levels_by_rate
from qacomp.stages.rate_biases import with_biases
from qacomp.stages.scale_search import ATTEMPTS, Asked, made_for_quality, made_for_size, scale_for_quality
from qacomp.stages.scaled import Scaled
from qacomp.stages.size_of import tensor_bytes, whole_bytes
from qacomp.stages.trial_log import with_sensitivities
from qacomp.tensors.torch_format import to_array
from qacomp.training.fine_tune import tune_shared
from qacomp.training.fine_tune_rate import OnGrid, fine_tune_rate
from qacomp.training.history import WeightHistory
from qacomp.training.parametrizations.shared import share_weight

_FINER, _ROUGHLY = 1.2, 0.02  # factor on the final bytes for the grids at the start of training; tolerance of that
_ALIVE = 0.5  # how far outputs may move on these grids: a network that rounding has silenced gets no gradient
_ABOVE = 1.01  # factor on the bytes for weights: training aims a little above, and a dead zone brings the file down
_LEAST_DEAD = 0.9  # the narrowest dead zones that are tried, relative to those of the training
_OF_UNTRAINED = 0.7  # target size with labels, relative to the size that the quality takes without training


@dataclass(frozen=True)
class _ByRate:
    """The network to share on grids: its job and source, its calibration, and the histograms of its weights."""

    job: Job
    source: TorchSource
    found: CalibratedNetwork
    weights: WeightHistory

    def at(self, scale: float) -> dict[str, Packed]:
        """Return all weights on grids, with all steps multiplied by `scale`; as they are where that is smaller."""
        layers = {layer.name: layer for layer in self.job.selection.layers}
        state = self.job.model.state_dict()
        return {
            name: kept_unless_smaller(item, to_array(state[name]), layers[name])
            for name, item in self.found.sharing.at(scale).items()
        }

    def plain(self, scale: float) -> dict[str, Packed]:
        """Return all weights rounded to the nearest multiples, without compensation, as training starts with them."""
        return self.found.sharing.plain(scale)

    def bytes_of(self, items: Mapping[str, Packed]) -> int:
        """Return the bytes of a container that holds only these tensors."""
        return tensor_bytes(items, self.job.config)

    def made(self, items: Mapping[str, Packed], *, tuned: bool, model: nn.Module | None = None) -> Made:
        """Return what goes into the container. tuned: tune the network first.

        model: the network whose other parameters are taken, None: the job's.
        """
        job, model = self.job, copied(self.job.model if model is None else model)
        shared = {name: item.value for name, item in items.items() if isinstance(item.value, SharedTensor)}
        for name, value in shared.items():
            share_weight(model, name, value.codebook, value.indices, self._zero(name, value))
        before = copied(model)
        if tuned:
            job = self._tuned(model)
        selection = job.selection
        for layer in job.selection.layers:
            if layer.name not in shared:
                kept = items[layer.name].kept if layer.name in items else self.found.sharing.unfit.get(layer.name)
                selection = selection.without(layer, kept or "not on a grid")
        changed = replace(job, network=replace(job.network, model=model), selection=selection)
        made = measured_network(changed, (before, model), self.weights)
        return replace(made, meta={**made.meta, "calibration": self.found.model.text})

    def _tuned(self, model: nn.Module) -> Job:
        """Train shared values, norms and biases: on labels if there is data, else towards the original's outputs."""
        job, way = self.job, sharing_way(self.job.config)
        if job.session is not None and job.config.tune_epochs:
            with job.run.stage("tune"):
                return job.told(
                    tune_shared(model, replace(job.session, store=None))
                )  # no resuming, since several sizes may be tuned
        if isinstance(way, RateAwareWay) and way.tuned:
            with job.run.stage("tune"), job.run.progress.task("tune on the same inputs", TUNING_STEPS) as task:
                device = next((p.device for p in model.parameters()), torch.device("cpu"))
                inputs = self.found.inputs.to(device)
                tune_small(model, job.original, inputs, job.config.seed, task.advance, job.zeros.keep_zero)
        return job

    def _zero(self, name: str, shared: SharedTensor) -> int | None:
        """Return the index of the value that tuning must leave at zero, None for a tensor without zeros to keep."""
        values = self.found.sharing.weights[name].values
        if values.ndim < 2 and name not in self.job.zeros.masks:
            return None  # a bias that begins at zero may move
        entries = np.unique(shared.indices[values == 0])
        return int(entries[0]) if entries.size == 1 and shared.codebook[entries[0]] == 0 else None

    def scaled(self) -> Scaled:
        """Return the network at any scale of its steps, without training of its weights."""
        at = lru_cache(maxsize=1)(self.at)  # bytes and distance are often asked for at the same scale
        return Scaled(
            lambda scale: self.made(at(scale), tuned=True),
            self.whole,
            lambda scale: self.bytes_of(at(scale)),
            lambda scale: self.distance(at(scale)),
        )

    def distance(self, items: Mapping[str, Packed]) -> float:
        """Return how far the outputs move with these weights."""
        return self.found.model.distance({name: item.dense() for name, item in items.items()})

    def rest(self) -> int:
        """Return the bytes of the file without the shared tensors: the graph, norms, biases, metadata."""
        items = self.at(1.0)
        return self.whole(self.made(items, tuned=False)) - self.bytes_of(items)

    def whole(self, made: Made) -> int:
        """Return the bytes of the whole file."""
        return whole_bytes(made, self.source, self.job.config)


def network_by_rate(job: Job, source: TorchSource, weights: WeightHistory) -> Made:
    """Share the job's network on grids, and measure it; with labels and epochs it is trained on them first.

    Raises TargetNotReachedError for a target out of reach, DivergedError.
    """
    if sized_levels(job.config):
        return network_levels_by_rate(job, source, calibrate(job), weights)
    job = replace(job, selection=with_biases(job.selection, source.weights(), job.config))
    task = _ByRate(job, source, calibrate(job), weights)
    given = job.config.calibration is not None or job.session is not None
    return with_sensitivities(_made(task), task.found.sharing, task.found.model, inputs_given=given)


def _made(task: _ByRate) -> Made:
    """Return the network trained on its grids if --epochs asks for it, else at a size or a quality."""
    job = task.job
    if job.session is not None and job.config.epochs:
        return _trained(task)
    if job.config.target_size is None:
        return made_for_quality(task.scaled(), job.config, job.run)
    return made_for_size(task.scaled(), task.rest(), _asked(task), job.run)


def _trained(task: _ByRate) -> Made:
    """Train the network on its grids with a price on bits, then round its weights to reach the target size."""
    job = task.job
    assert job.session is not None
    if job.config.target_size is None:
        fine = task.bytes_of(task.at(scale_for_quality(task.scaled().distance, job.config, job.run)))
        rest = task.rest()
        asked = Asked("", int(rest + _OF_UNTRAINED * fine))
    else:
        asked, rest = _asked(task), task.rest()
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
        trained, records = fine_tune_rate(model, steps, _ABOVE * left, coder, job.session)
    made = _cut(replace(task, job=job.told(records)), model, trained, scale, asked)
    verdict = made.measured.verdict
    if job.config.target_size is None and job.config.quality != "small" and verdict.word not in (GOOD, UNMEASURED):
        return replace(made, missed=f"--quality: isn't met after training ({verdict}); give --epochs 0, or more epochs")
    return made


def _cut(task: _ByRate, model: nn.Module, trained: Mapping[str, OnGrid], scale: float, asked: Asked) -> Made:
    """Return the trained network, rounded with a dead zone around zero that gives the file the target size.

    trained: the trained weights. Their dead zones are widened or narrowed together.
    """

    def items_at(wider: float) -> dict[str, Packed]:
        integers = {name: with_dead_zone(w.multiples, w.dead * wider) for name, w in trained.items()}
        return task.found.sharing.on_grids(integers, scale)

    items, tuned = items_at(1.0), False
    for _ in range(ATTEMPTS):
        made = task.made(items, tuned=tuned, model=model)
        size = task.whole(made)
        if tuned and (task.job.config.target_size is None or asked.is_met(size)):
            return made
        with task.job.run.stage("share"):
            left = asked.left(size - task.bytes_of(items))
            wider = max(_LEAST_DEAD, scale_for_size(lambda w: task.bytes_of(items_at(w)), left))
        if tuned and wider == _LEAST_DEAD:
            break
        items, tuned = items_at(wider), True
    return asked.nearest(made, size)


def _asked(task: _ByRate) -> Asked:
    return Asked.of(task.job.config, task.source.size)
