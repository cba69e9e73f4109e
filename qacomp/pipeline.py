"""Compression, a stage a call: load, prune, fine-tune with the regularizer, share, tune, pack, write, measure."""

from dataclasses import replace
from pathlib import Path

from torch import nn

from qacomp.checkpoints import Checkpoint, named_as
from qacomp.datasets import Dataset
from qacomp.evaluation.samples import Given
from qacomp.graphs import OnnxSource
from qacomp.models import model_info
from qacomp.models.flexible import FlexibleModel
from qacomp.models.plain_modules import copied
from qacomp.options.config import CompressConfig
from qacomp.progress import Progress
from qacomp.result import Result
from qacomp.sharing.agreement import aim, raised_note
from qacomp.sources.network import Network, build_network, whole_weights
from qacomp.stages.job import Job, start_job
from qacomp.stages.network_agreement import refined_network
from qacomp.stages.run import Run
from qacomp.stages.share_onnx import compress_onnx
from qacomp.stages.share_tensors import compress_tensors
from qacomp.stages.writing import write_and_measure
from qacomp.training.batch_norm import reestimate_batch_norm
from qacomp.training.fine_tune import fine_tune, tune_shared
from qacomp.training.fine_tune_ladder import fine_tune_ladder
from qacomp.training.history import WeightHistory
from qacomp.training.ladder import PrecisionLadder, build_ladder
from qacomp.training.parametrizations.zeros import NO_ZEROS, Zeros, own_zeros
from qacomp.training.pruning.stage import prune
from qacomp.training.quantizers import plan_quantization, quantize_activations, quantize_network
from qacomp.training.regularizers import Regularizer
from qacomp.training.share_network import share_network
from qacomp.training.snapshots import watcher


def compress(
    checkpoint: Checkpoint | OnnxSource,
    config: CompressConfig,
    dataset: Dataset | None,
    output: Path,
    progress: Progress,
    *,
    network: Network | None = None,
    snapshots: Path | None = None,
    samples: Given | None = None,
) -> Result:
    """Compress `checkpoint` into the container `output`; see CompressConfig for the settings.

    network: the caller's own, with the checkpoint's weights; it is changed. None builds the architecture's. snapshots:
    a folder that gets checkpoints of the fine-tuning at its quarters. samples: what an ONNX model is measured on.
    Without a network or without data only the post-training part is done, and the notes say so. Raises the named
    errors of `qacomp.errors`; `output` is written whole or not at all.
    """
    config.check()
    run = Run(progress)
    if isinstance(checkpoint, OnnxSource):
        return Result.of(compress_onnx(checkpoint, config, output, run, samples))
    arch = config.arch or checkpoint.arch
    if arch is not None:
        checkpoint = whole_weights(checkpoint)
        if network is None and checkpoint.kind != "module":
            model_info(arch, told=config.arch is None)
            checkpoint = named_as(checkpoint, arch)
    for remark in checkpoint.notes:
        run.note(remark)
    if network is None and checkpoint.kind != "module":
        network = build_network(checkpoint, config)
    if network is None:
        return Result.of(compress_tensors(checkpoint, config, output, run))
    return _compress_network(start_job(checkpoint, network, config, dataset, output, run), snapshots)


def _compress_network(job: Job, snapshots: Path | None) -> Result:
    own = _own_zeros(job)
    if job.config.prune != "none":
        job = _prune(job, own)
    elif own.masks:
        job = job.pruned(own)
    bits: dict[str, int] = {}
    if job.config.quantizer != "none":
        job, bits = _plan_quantizer(job)
    weights = WeightHistory([layer.name for layer in job.selection.layers], job.original.state_dict())
    penalties: dict[str, Regularizer] = {}
    ladder: PrecisionLadder | None = None
    if job.session is not None and job.config.epochs:
        watch = watcher(weights, job.config.epochs, job.network, job.config.data, snapshots)
        job = replace(job, session=replace(job.session, watch=watch))
        penalties, ladder = _fine_tune(job, bits)
    elif bits:
        scaled = job.config.quantizer_scale == "layer"
        quantize_network(job.model, bits, job.config.quantizer, scaled=scaled, living=job.zeros.masks)
    if job.config.levels is not None:
        ladder = ladder or build_ladder(job.model, job.selection, job.config.levels, living=job.zeros.masks)
        shared, tuned = _share_ladder(job, ladder)
    else:
        shared, tuned = _share(_refine(job), penalties)
    return Result.of(write_and_measure(job, shared, tuned, weights, ladder))


def _own_zeros(job: Job) -> Zeros:
    """The zeros that the network came with, where something trains it; k-means alone keeps zeros by itself."""
    trained = job.session is not None or job.config.quantizer != "none" or job.config.prune != "none"
    return own_zeros(job.model, job.selection) if trained else NO_ZEROS


def _prune(job: Job, own: Zeros) -> Job:
    session = job.session and replace(job.session, zeros=own)
    with job.run.stage("prune"):
        pruned = prune(job.model, job.network.input_shape, job.config, session, job.run.note)
    job.run.history += pruned.records
    job.run.pruning = pruned.report
    left = own_zeros(job.model, job.selection)
    return job.pruned(pruned.zeros.beside(Zeros(left.masks)))


def _plan_quantizer(job: Job) -> tuple[Job, dict[str, int]]:
    """The bits of each layer that is quantized, which also fix its shared values."""
    c = job.config
    plan = plan_quantization(job.selection, c.quantizer, c.bits, c.bits_layers, c.ends)
    if c.activations is not None:
        places = quantize_activations(job.model, c.activations)
        job.run.note(f"activations: {c.activations} bits at {len(places)} ReLUs")
    return replace(job, selection=plan.selection), {n: b for n, b in plan.bits.items() if not job.zeros.emptied(n)}


def _fine_tune(job: Job, bits: dict[str, int]) -> tuple[dict[str, Regularizer], PrecisionLadder | None]:
    """Each layer's trained regularizer, and the precision ladder where one was trained."""
    assert job.session is not None
    penalties: dict[str, Regularizer] = {}
    ladder = None
    with job.run.stage("fine-tune"):
        if job.config.levels is not None and job.config.sharing == "straight-through":
            ladder, records = fine_tune_ladder(job.model, job.selection, job.session)
        else:
            penalties, records = fine_tune(job.model, job.selection, job.session, bits)
    job.run.history += records
    return penalties, ladder


def _refine(job: Job) -> Job:
    """More shared values for outputs that agree with the original's, of a network that nothing is trained in."""
    c = job.config
    trained = job.session is not None or c.prune != "none" or c.quantizer != "none"
    if trained or isinstance(job.model, FlexibleModel) or aim(c) is None:
        return job
    with job.run.stage("share"):
        selection, missed = refined_network(job.network, job.selection, c)
    if missed:
        job.run.note(missed)
    if text := raised_note(selection.layers, c.k):
        job.run.note(text)
    return replace(job, selection=selection)


def _share(job: Job, penalties: dict[str, Regularizer]) -> tuple[nn.Module, nn.Module]:
    """Share the network's weights, tune their values; the network before and after the tuning."""
    with job.run.stage("share"):
        share_network(
            job.model, job.selection, penalties, job.run.note, job.zeros, job.config.codebook, job.config.rounding
        )
        _reestimate(job, job.model)
    shared = copied(job.model)
    _tune(job, job.model)
    return shared, job.model


def _share_ladder(job: Job, ladder: PrecisionLadder) -> tuple[nn.Module, nn.Module]:
    """Fix the clusters of all levels, tune their values; the finest level's network before and after the tuning."""
    finest = ladder.submodel_names[-2]
    with job.run.stage("share"):
        ladder.freeze()
        _reestimate(job, ladder)
    shared = ladder.submodel(finest)
    whole = job.session and replace(job.session, zeros=job.zeros.under("network."))
    _tune(replace(job, session=whole), ladder)
    return shared, ladder.submodel(finest)


def _reestimate(job: Job, model: nn.Module) -> None:
    if job.session is None or job.config.batch_norm != "re-estimate":
        return
    stage = job.session.stage("batch norm", 1, keep_best=False)
    if not reestimate_batch_norm(model, job.session.dataset, job.session.preprocessing, stage, job.run.progress):
        job.run.note("--batch-norm re-estimate: the network has no batch norm with statistics")


def _tune(job: Job, model: nn.Module) -> None:
    if job.session is not None and job.config.tune_epochs:
        with job.run.stage("tune"):
            job.run.history += tune_shared(model, job.session)
