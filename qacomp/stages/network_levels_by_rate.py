"""Share a PyTorch network on nested grids: one file, in which each level is the best network of its size."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from qacomp.batches.feed import moved
from qacomp.batches.outputs import main_output
from qacomp.calibration.tuning import STEPS as TUNING_STEPS
from qacomp.calibration.tuning import tune_small
from qacomp.errors import ConfigError
from qacomp.evaluation.on_batches import device_of
from qacomp.formats import SharedTensor
from qacomp.models.flexible import FlexibleModel
from qacomp.models.plain_modules import copied
from qacomp.options.needs import level_numbers, sharing_way
from qacomp.options.sharing_ways.rate_aware import RateAwareWay
from qacomp.sharing.share import Packed
from qacomp.sources.torch_source import TorchSource
from qacomp.stages.job import Job
from qacomp.stages.levels_by_rate import Levelled, asked_levels, made_for_sizes
from qacomp.stages.made import Made
from qacomp.stages.measure_network import measured_network
from qacomp.stages.network_calibration import CalibratedNetwork
from qacomp.stages.size_of import level_bytes, tensor_bytes
from qacomp.training.fine_tune import tune_shared
from qacomp.training.history import WeightHistory
from qacomp.training.ladder import PrecisionLadder
from qacomp.training.parametrizations.nested import NestedCodebooks


def network_levels_by_rate(job: Job, source: TorchSource, found: CalibratedNetwork, weights: WeightHistory) -> Made:
    """Return the network with a level for each size of --target-size, measured at each; its weights aren't trained.

    Raises ConfigError for a network with sub-models of its own, TargetNotReachedError for sizes out of reach.
    """
    if isinstance(job.model, FlexibleModel):
        raise ConfigError(f"--target-size {job.config.target_size}: the network has sub-models already; give one size")
    task = _Levels(job, found, weights)
    asked = asked_levels(job.config, source.size)
    integers, scales = found.sharing.integers(1.0), [1.0] * len(asked)
    items = found.sharing.nested([integers] * len(asked), scales)
    rest = level_bytes(task.made(items, tuned=False), source, job.config)[-1] - tensor_bytes(items, job.config)
    levelled = Levelled(
        lambda items: task.made(items, tuned=True),
        lambda made: level_bytes(made, source, job.config),
        lambda items: tensor_bytes(items, job.config),
        job.run.journal.under(found.sharing.digest + found.model.digest),
    )
    return made_for_sizes(found.sharing, levelled, asked, rest, job.run)


@dataclass(frozen=True)
class _Levels:
    """The network to share at several levels: its job, its calibration, and the histograms of its weights."""

    job: Job
    found: CalibratedNetwork
    weights: WeightHistory

    def made(self, items: Mapping[str, Packed], *, tuned: bool) -> Made:
        """Return what a container of these nested tensors holds. tuned: tune norms and biases first."""
        job, model = self.job, copied(self.job.model)
        shared = {name: item.value for name, item in items.items() if isinstance(item.value, SharedTensor)}
        device = next((p.device for p in model.parameters()), torch.device("cpu"))
        books = {name: NestedCodebooks.held(value).to(device) for name, value in shared.items()}
        ladder = PrecisionLadder(model, books, level_numbers(job.config) or ()).eval()
        finest = ladder.submodel_names[-2]
        before = ladder.submodel(finest)
        if tuned:
            job = self._tuned(ladder, list(shared))
        selection = job.selection
        for layer in job.selection.layers:
            if layer.name not in shared:
                selection = selection.without(layer, self.found.sharing.unfit.get(layer.name, "not on a grid"))
        changed = replace(job, network=replace(job.network, model=model), selection=selection)
        made = measured_network(changed, (before, ladder.submodel(finest)), self.weights, ladder)
        return replace(made, meta={**made.meta, "calibration": self.found.model.text})

    def _tuned(self, ladder: PrecisionLadder, names: list[str]) -> Job:
        """Train each level's norms, and the biases of all: on labels if there is data, else towards the original's."""
        job, way = self.job, sharing_way(self.job.config)
        for name in names:
            ladder.network.get_parameter(name).requires_grad_(False)
        if job.session is not None and job.config.tune_epochs:
            session = replace(job.session, store=None, zeros=job.zeros.under("network."))
            with job.run.stage("tune"):
                return job.told(tune_shared(ladder, session))
        if isinstance(way, RateAwareWay) and way.tuned:
            with job.run.stage("tune"), job.run.progress.task("tune on the same inputs", TUNING_STEPS) as task:
                levels, inputs = _AllLevels(ladder), [moved(feed, device_of(ladder)) for feed in self.found.inputs]
                original = _Repeated(job.original, len(ladder.norms))
                keep_zero = job.zeros.under("ladder.network.").keep_zero
                tune_small(levels, original, inputs, job.config.seed, task.advance, keep_zero)
        return job


class _AllLevels(nn.Module):
    """Maps inputs to the main outputs of all levels, one after the other along the first axis."""

    def __init__(self, ladder: PrecisionLadder) -> None:
        super().__init__()
        self.ladder = ladder

    def forward(self, *given: Tensor, **named: Tensor) -> Tensor:
        """Return the outputs of each level, the coarsest first."""
        return torch.cat([main_output(found) for found in self.ladder.forward_levels(named or given)])


class _Repeated(nn.Module):
    """Maps inputs to a network's main output, repeated along the first axis."""

    def __init__(self, network: nn.Module, times: int) -> None:
        super().__init__()
        self.network, self.times = network, times

    def forward(self, *given: Tensor, **named: Tensor) -> Tensor:
        """Return the outputs, `times` times."""
        return torch.cat([main_output(self.network(*given, **named))] * self.times)
