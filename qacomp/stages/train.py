"""Take a network through its stages: prune, fine-tune with the regularizer, share, tune; then measure and pack it."""

from dataclasses import dataclass, replace

from torch import nn

from qacomp.batches.examples import Examples
from qacomp.evaluation.on_batches import network_value
from qacomp.models.flexible import FlexibleModel
from qacomp.models.plain_modules import copied
from qacomp.options.config import CompressConfig
from qacomp.options.needs import rate_aware, shares_in_training, sharing_way
from qacomp.sharing.agreement import aim, raised_note
from qacomp.sharing.form import SharingRules
from qacomp.sharing.selection import Selection
from qacomp.sources.torch_source import TorchSource
from qacomp.stages.job import Job, start_job
from qacomp.stages.made import Made
from qacomp.stages.measure_network import measured_network
from qacomp.stages.network_agreement import refined_network
from qacomp.stages.network_by_rate import network_by_rate
from qacomp.stages.prepare import pruned, with_quantizer
from qacomp.stages.run import Run
from qacomp.training.batch_norm import reestimate_batch_norm
from qacomp.training.fine_tune import fine_tune, tune_shared
from qacomp.training.fine_tune_ladder import fine_tune_ladder
from qacomp.training.history import WeightHistory, watcher
from qacomp.training.ladder import PrecisionLadder, build_ladder
from qacomp.training.quantizers import quantize_network, quantizer_named
from qacomp.training.regularizers import Regularizer
from qacomp.training.setup import TrainingSetup
from qacomp.training.share_network import share_network


@dataclass(frozen=True)
class FineTuned:
    """The result of fine-tuning: the regularizer of each layer, and the precision ladder if one was trained."""

    penalties: dict[str, Regularizer]
    ladder: PrecisionLadder | None = None


def train(
    source: TorchSource, selection: Selection, config: CompressConfig, data: Examples | None, run: Run
) -> Made | None:
    """Train and share a source's network in place, and measure it; without data only the stages without training run.

    Of several processes the first one does all that isn't training, and what trains by rate; another one returns None
    when there is nothing more for it to train. Raises ConfigError, DataError, DivergedError, AgreementNotReachedError
    and RanksError.
    """
    first = run.ranks.first
    if data is None:
        run.note_alone("nothing is trained without data")
        if not first:
            return None
    job = pruned(start_job(source, selection, config, data, run))
    job, bits = with_quantizer(job)
    weights = WeightHistory([layer.name for layer in job.selection.layers], job.original.state_dict())
    if rate_aware(config) and not config.reg.chosen:
        run.note_alone("sharing by rate isn't divided (--reg, --k or --sharing after is)")
        return network_by_rate(job.alone(), source, weights) if first else None
    job, trained = _fine_tune(job, bits, weights)
    if rate_aware(config):
        return network_by_rate(job.alone(), source, weights) if first else None
    if config.levels is not None:
        ladder = trained.ladder or build_ladder(job.model, job.selection, config.levels, masks=job.zeros.masks)
        job, shared, tuned = _share_ladder(job, ladder)
        return measured_network(job, (shared, tuned), weights, ladder) if first else None
    job, shared, tuned = _share(_refine(job), trained.penalties)
    return measured_network(job, (shared, tuned), weights) if first else None


def _fine_tune(job: Job, bits: dict[str, int], weights: WeightHistory) -> tuple[Job, FineTuned]:
    """Train all weights towards their shared values if there is data; without data only apply the quantizer."""
    c = job.config
    if job.session is None or not c.epochs:
        if bits:
            scaled = quantizer_named(c.quantizer).options.scaled
            quantize_network(job.model, bits, c.quantizer, scaled=scaled, masks=job.zeros.masks)
        return job, FineTuned({})
    watch = watcher(weights, c.epochs, job.network, c.data, job.run.snapshots)
    session = replace(job.session, watch=watch)
    with job.run.stage("fine-tune"):
        if c.levels is not None and sharing_way(c).in_training:
            ladder, records = fine_tune_ladder(job.model, job.selection, session)
            return job.told(records), FineTuned({}, ladder)
        penalties, records = fine_tune(job.model, job.selection, session, bits)
        job = job.told(records)
        if not bits and not shares_in_training(c) and not rate_aware(c):  # the weights are in full precision
            job = replace(job, training=replace(job.training, fine_tuned=_tested(job, session)))
    return job, FineTuned(penalties)


def _tested(job: Job, session: TrainingSetup) -> float:
    """Return the metric of the job's network on the test part."""
    test, metric = session.examples.test, session.task.metric
    return session.ranks.from_first(lambda: network_value(job.model, test, metric, device=session.device))


def _refine(job: Job) -> Job:
    """Give layers more shared values until outputs agree with the original's, if nothing is trained."""
    c = job.config
    trained = job.session is not None or c.prune.chosen or c.quantizer.chosen
    if trained or isinstance(job.model, FlexibleModel) or aim(c) is None:
        return job
    with job.run.stage("share"):
        selection, missed = refined_network(job.network, job.selection, c)
    if missed:
        job.run.note(missed)
    if text := raised_note(selection.layers, c.shared_values):
        job.run.note(text)
    return replace(job, selection=selection)


def _share(job: Job, penalties: dict[str, Regularizer]) -> tuple[Job, nn.Module, nn.Module]:
    """Share the network's weights and tune their values; return the job, the network before tuning, and after it."""
    c = job.config
    with job.run.stage("share"):
        rules = SharingRules(c.codebook, c.rounding)
        share_network(job.model, job.selection, penalties, job.run.note, job.zeros, rules)
        _reestimate(job, job.model)
    shared = copied(job.model)
    return _tune(job, job.model), shared, job.model


def _share_ladder(job: Job, ladder: PrecisionLadder) -> tuple[Job, nn.Module, nn.Module]:
    """Fix the clusters of all levels and tune their values; return the job, the finest network before and after."""
    finest = ladder.submodel_names[-2]
    with job.run.stage("share"):
        ladder.freeze()
        _reestimate(job, ladder)
    shared = ladder.submodel(finest)
    whole = job.session and replace(job.session, zeros=job.zeros.under("network."))
    tuned = _tune(replace(job, session=whole), ladder)
    return replace(job, training=tuned.training), shared, ladder.submodel(finest)


def _reestimate(job: Job, model: nn.Module) -> None:
    if job.session is None or job.config.batch_norm != "re-estimate":
        return
    stage = job.session.stage("batch norm", 1, keep_best=False)
    if not reestimate_batch_norm(model, job.session.examples.train, stage, job.run.progress):
        job.run.note("--batch-norm re-estimate: no effect, since the network has no batch norm with running statistics")


def _tune(job: Job, model: nn.Module) -> Job:
    if job.session is None or not job.config.tune_epochs:
        return job
    with job.run.stage("tune"):
        return job.told(tune_shared(model, job.session))
