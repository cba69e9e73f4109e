"""Train a network from random weights, with a regularizer, a quantizer or pruning if asked, and write a checkpoint.

Sharing is left to compress: the weights in the checkpoint stay in full precision, gathered by the regularizer, or they
are the shared or quantized values that the forward pass used, so that k-means finds them again.
"""

from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from qacomp.batches.examples import Examples
from qacomp.checkpoints import CheckpointFacts, write_checkpoint
from qacomp.evaluation.on_batches import network_value
from qacomp.evaluation.submodels import submodel_values
from qacomp.models.flexible import FlexibleModel
from qacomp.models.plain_modules import plain_module
from qacomp.options.config import CompressConfig
from qacomp.outputs import Output, claim, resume_output
from qacomp.progress import Progress
from qacomp.ranks.ranks import ALONE, Ranks
from qacomp.sharing.selection import Selection
from qacomp.sources.input_files import command_files
from qacomp.sources.opening import own_torch_state
from qacomp.sources.torch_source import TorchSource
from qacomp.sources.untrained import NOTHING, InMemory, open_untrained
from qacomp.stages.job import Job, start_job
from qacomp.stages.prepare import pruned, with_quantizer
from qacomp.stages.resolve_scratch import clusters, resolve_scratch
from qacomp.stages.run import Run
from qacomp.stages.select import select_weights
from qacomp.training.descent import Descent
from qacomp.training.fine_tune import fine_tune
from qacomp.training.history import EpochRecord
from qacomp.training.loop import parameter_groups
from qacomp.training.optimizers import make_optimizer, weight_decay_of
from qacomp.training.own_functions import OwnFunctions
from qacomp.training.pruning.report import PruningReport
from qacomp.training.quantizers import quantizer_named

_CHOSEN = OwnFunctions()


@dataclass(frozen=True)
class TrainedCheckpoint:
    """A trained checkpoint: its size in bytes, its top-1 accuracy in percent on the test and the validation part.

    module: the trained network as a plain module, on the CPU, in eval mode; `module.state_dict()` is what the file has.

    For a flexible network `accuracy` is that of the largest sub-model, `submodels` those of all by name (else empty),
    and `validation_accuracy` their mean. metric: what was measured; if that isn't accuracy, `value` and `validation`
    are its values, and the accuracies None. pruning: what pruning kept, None without; under `full` and `pruned` the
    figures of the whole network and of the pruned one on the test part, after a search by energy. zeros: weights that
    are zero.
    """

    output: Path
    arch: str
    parameters: int
    bytes: int
    accuracy: float | None
    validation_accuracy: float | None
    history: tuple[EpochRecord, ...]
    seed: int
    submodels: dict[str, float]
    metric: str = "accuracy"
    value: float | None = None
    validation: float | None = None
    zeros: int = 0
    pruning: dict[str, Any] | None = None
    notes: tuple[str, ...] = ()
    settings: str = ""
    module: nn.Module | None = field(default=None, repr=False, compare=False)

    def to_json(self) -> dict[str, Any]:
        """Return the document that `train --json` prints."""
        told = {**asdict(replace(self, module=None)), "output": str(self.output)}
        del told["module"]
        return told


def train_network(
    config: CompressConfig,
    output: Path,
    progress: Progress,
    *,
    own: OwnFunctions = _CHOSEN,
    force: bool = False,
    ranks: Ranks = ALONE,
) -> TrainedCheckpoint:
    """Train a network from random weights and write it as a checkpoint.

    config: see `qacomp.options.from_scratch`; own: a loss of the user's own. Without a regularizer, a quantizer and
    pruning the epoch with the best validation is kept, else the last one. force: overwrite an existing file; ranks: the
    processes that share the training, of which the first one writes. Raises UnknownArchitectureError, DataError,
    UnknownDataSpecError, OutputNotWritableError, DivergedError, RanksError, and ConfigError for settings that don't
    work together.
    """
    specs = (config.data, config.arch, config.metric, own.loss_fn)
    if ranks.first:
        claim([Output(output), resume_output(output)], command_files([], specs), force=force)
    return train_run(config, Run(progress, output, own=own, ranks=ranks))


def train_run(config: CompressConfig, run: Run, given: InMemory = NOTHING) -> TrainedCheckpoint:
    """Train a network as `train_network` does; given: a network and data in memory, which come before the settings'.

    Whether the run's output can be written is checked before.
    """
    with own_torch_state():
        source, examples = open_untrained(config, run.note, given)
        config = run.ranks.from_first(partial(resolve_scratch, config, source.network, examples, run.note))
        job = _trained(source, config, examples, run)
        trained = run.ranks.from_first(lambda: _written(job, run.output))
        module = plain_module(job.model, run.output).module.eval()
    if job.store is not None:
        job.store.finish()
    return replace(trained, module=module)


def _trained(source: TorchSource, config: CompressConfig, examples: Examples, run: Run) -> Job:
    """Return the job after all stages of its training; parametrizations of its weights are still there."""
    selection = select_weights(source, config, run.note) if clusters(config) else Selection(())
    job = start_job(source, selection, config, examples, run)
    assert job.session is not None
    job = replace(job, session=replace(job.session, untaught=True))
    job, bits = with_quantizer(pruned(job, remove=False))
    assert job.session is not None
    if clusters(config):
        _, records = fine_tune(job.model, job.selection, job.session, bits)
        return job.told(records)
    return job if config.prune.chosen else job.told(_plainly(job))


def _plainly(job: Job) -> list[EpochRecord]:
    """Train on the task alone, and keep the epoch with the best validation; return a record for each epoch."""
    c, session = job.config, job.session
    assert session is not None and c.epochs is not None
    stage = session.stage("train", c.epochs, keep_best=True, descent=Descent.of(c.optimizer))
    optimizer = make_optimizer(c.optimizer, parameter_groups(job.model, c.lr, weight_decay_of(c.optimizer)), c.lr)
    return session.train(job.model, stage, session.objective({}), optimizer)


def _written(job: Job, output: Path) -> TrainedCheckpoint:
    """Measure the network with plain weights, once, and write it."""
    c, session, network = job.config, job.session, job.network
    assert session is not None
    model = plain_module(job.model, output).module.to(session.device).eval()
    metric, test = session.task.metric, session.examples.test
    value = network_value(model, test, metric, batch_size=256, device=session.device)
    submodels = {}
    if isinstance(model, FlexibleModel):
        submodels = submodel_values(model, test, metric, device=session.device)
    history, report = job.training.history, job.training.pruning
    validation = _validation(job)
    told = {"accuracy": value} if metric.percent else {"metric": metric.name, "value": value}
    records = [asdict(record) for record in history]
    extra = {**told, "epochs": len(history), "seed": c.seed, "submodels": submodels, "settings": c.to_toml()}
    facts = CheckpointFacts(
        network.arch,
        network.num_classes,
        network.preprocessing,
        c.data,
        {**extra, "history": records},
        pruned=report is not None,
        activations=quantizer_named(c.quantizer).options.activations if c.quantizer.chosen else None,
    )
    state = {name: tensor.cpu().contiguous() for name, tensor in model.state_dict().items()}
    write_checkpoint(output, state, facts)
    weights = list(model.parameters())
    return TrainedCheckpoint(
        output=output,
        arch=network.arch,
        parameters=sum(p.numel() for p in weights),
        bytes=output.stat().st_size,
        accuracy=value if metric.percent else None,
        validation_accuracy=validation if metric.percent else None,
        history=history,
        seed=c.seed,
        submodels=submodels,
        metric=metric.name,
        value=None if metric.percent else value,
        validation=None if metric.percent else validation,
        zeros=sum(int((p == 0).sum()) for p in weights if p.ndim > 1),
        pruning=None if report is None else _told_of(report),
        notes=tuple(job.run.notes),
        settings=c.to_toml(),
    )


def _told_of(report: PruningReport) -> dict[str, Any]:
    figures = {"full": report.full, "pruned": report.pruned}
    return report.summary() | {name: asdict(found) for name, found in figures.items() if found is not None}


def _validation(job: Job) -> float:
    """Return the metric on the validation part: of the best epoch, or of the last one if that is kept."""
    values = [record.measured for record in job.training.history]
    if job.config.prune.chosen or clusters(job.config):
        return values[-1]
    best = values[0]
    assert job.session is not None
    for value in values:
        best = value if job.session.task.metric.better(value, best) else best
    return best
