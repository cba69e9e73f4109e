"""The state of one network's compression, passed from stage to stage: prune, fine-tune, share, tune."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from torch import nn

from qacomp.batches.examples import Examples
from qacomp.batches.images import ImageExamples
from qacomp.evaluation.guessing import no_better
from qacomp.evaluation.on_batches import network_value
from qacomp.models.first_weights import is_untouched
from qacomp.models.plain_modules import copied
from qacomp.options.config import CompressConfig
from qacomp.options.needs import trains
from qacomp.ranks.ranks import ALONE
from qacomp.sharing.selection import Selection
from qacomp.sources.network import Network
from qacomp.sources.torch_source import TorchSource
from qacomp.stages.made import Training
from qacomp.stages.run import Run
from qacomp.training.device import choose_device
from qacomp.training.history import EpochRecord
from qacomp.training.own_functions import OwnFunctions
from qacomp.training.parametrizations.zeros import NO_ZEROS, Zeros
from qacomp.training.pruning.stage import remove_dead_channels
from qacomp.training.quantizers import quantize_activations
from qacomp.training.resume import ResumeStore, fingerprint
from qacomp.training.setup import TrainingSetup
from qacomp.training.task import choose_task

UNTOUCHED = "with the weights that a new network has"


@dataclass(frozen=True)
class Job:
    """What every stage needs to know, and what the stages before it produced.

    network: its model is changed in place by the stages; original: a copy of the unchanged model; config: settings
    without None and auto; selection: the layers to share; session: data and settings of training, None without data;
    store: where the state of a training is saved for resuming, None if nothing is trained; zeros: the weights that stay
    zero; training: records of the stages so far.
    """

    network: Network
    original: nn.Module
    config: CompressConfig
    selection: Selection
    session: TrainingSetup | None
    run: Run
    store: ResumeStore | None = None
    zeros: Zeros = NO_ZEROS
    training: Training = field(default_factory=Training)

    @property
    def model(self) -> nn.Module:
        """Return the network's module, which the stages change in place."""
        return self.network.model

    def pruned(self, zeros: Zeros) -> "Job":
        """Return the job with these weights held at zero, and with shapes and K of the pruned network's layers."""
        session = self.session and replace(self.session, zeros=zeros)
        return replace(self, zeros=zeros, session=session, selection=zeros.selection(self.selection, self.model))

    def alone(self) -> "Job":
        """Return the job with trainings that this process doesn't share with others."""
        return replace(self, session=self.session and replace(self.session, ranks=ALONE))

    def told(self, records: Sequence[EpochRecord]) -> "Job":
        """Return the job with these epochs appended to its history."""
        return replace(self, training=replace(self.training, history=(*self.training.history, *records)))


def start_job(
    source: TorchSource, selection: Selection, config: CompressConfig, examples: Examples | None, run: Run
) -> Job:
    """Move the network to its device, copy it as the original, and prepare its training, on labels if any."""
    device = choose_device(config.device)
    network = source.network
    if source.checkpoint.activations is not None:
        quantize_activations(network.model, source.checkpoint.activations)
    if source.checkpoint.pruned:
        remove_dead_channels(network.model, network.inputs, run.note)
        selection = NO_ZEROS.selection(selection, network.model)
    original = copied(network.model.to(device))
    session, store = None, None
    if run.ranks.first and (examples is not None or config.epochs):
        path = run.output.with_name(run.output.name + ".resume")
        told = f"{fingerprint(source.checkpoint, config, examples)} {run.own.loss_name}"
        store = ResumeStore(path, told, run.note)
    if examples is not None:
        session = TrainingSetup(config, examples, original, device, run.progress, store, note=run.note, ranks=run.ranks)
        if not isinstance(examples, ImageExamples) or run.own != OwnFunctions() or config.metric != "auto":
            session = replace(session, task=choose_task(original, examples, config.metric, run.own, config.batch_size))
        taught = session
        session = replace(session, untaught=run.ranks.from_first(lambda: _knows_nothing(taught)))
    return Job(network, original, config, selection, session, run, store)


def _knows_nothing(session: TrainingSetup) -> bool:
    """Return whether the original is to teach the network, but has learned nothing itself; a note says so."""
    if session.config.distill.name != "kd" or not trains(session.config):
        return False
    metric, val = session.task.metric, session.examples.val
    value = network_value(session.original, val, metric, device=session.device)
    why = no_better(metric, val, value)
    if why is None and (metric.percent or not is_untouched(session.original)):  # accuracy tells it of classifiers
        return False
    told = f"{value:.2f} %" if metric.percent else f"{metric.name} {value:.4g}"
    session.note(
        f"the original gets {told} on the validation part, {why or UNTOUCHED}, so it doesn't teach the network: as "
        "--distill none"
    )
    return True
