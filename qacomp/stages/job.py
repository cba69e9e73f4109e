"""One network on its way through training, sharing and tuning, as a value."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from torch import nn

from qacomp.datasets import Dataset
from qacomp.models.plain_modules import copied
from qacomp.options.config import CompressConfig
from qacomp.sharing.selection import Selection
from qacomp.sources.network import Network
from qacomp.sources.torch_source import TorchSource
from qacomp.stages.made import Training
from qacomp.stages.run import Run
from qacomp.training.device import choose_device
from qacomp.training.history import EpochRecord
from qacomp.training.parametrizations.zeros import NO_ZEROS, Zeros
from qacomp.training.resume import ResumeStore, fingerprint
from qacomp.training.setup import TrainingSetup


@dataclass(frozen=True)
class Job:
    """What every stage needs to know.

    network: whose model the stages change; original: a copy of it as it came; config: settings without None and auto;
    selection: the layers that are shared; session: what trains them, None without data; zeros: pruned weights;
    training: what the stages so far left to tell.
    """

    network: Network
    original: nn.Module
    config: CompressConfig
    selection: Selection
    session: TrainingSetup | None
    run: Run
    zeros: Zeros = NO_ZEROS
    training: Training = field(default_factory=Training)

    @property
    def model(self) -> nn.Module:
        """Return the network's own module."""
        return self.network.model

    def pruned(self, zeros: Zeros) -> "Job":
        """Return the job with these weights held at zero, and the layers that are still there."""
        session = self.session and replace(self.session, zeros=zeros)
        return replace(self, zeros=zeros, session=session, selection=zeros.selection(self.selection, self.model))

    def told(self, records: Sequence[EpochRecord]) -> "Job":
        """Return the job with more epochs behind it."""
        return replace(self, training=replace(self.training, history=(*self.training.history, *records)))


def start_job(
    source: TorchSource, selection: Selection, config: CompressConfig, dataset: Dataset | None, run: Run
) -> Job:
    """Move the network to its device, keep a copy of it as it came, and prepare its training, if there is data."""
    device = choose_device(config.device)
    network = source.network
    original = copied(network.model.to(device))
    session = None
    if dataset is not None:
        folder = run.output.with_name(run.output.name + ".resume")
        store = ResumeStore(folder, fingerprint(source.checkpoint, config, dataset))
        session = TrainingSetup(config, dataset, network.preprocessing, original, device, run.progress, store)
    return Job(network, original, config, selection, session, run)
