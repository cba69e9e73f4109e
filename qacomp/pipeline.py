"""Compression, a stage a call: load, prune, fine-tune with the regularizer, share, tune, pack, write, measure."""

import copy
import hashlib
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import qacomp
from qacomp.batch_norm_estimation import reestimate_batch_norm
from qacomp.checkpoints import Checkpoint, write_checkpoint
from qacomp.config import CompressConfig
from qacomp.datasets import Dataset
from qacomp.decoding import onnx_model
from qacomp.errors import ConfigError
from qacomp.evaluation.accuracy import onnx_accuracy, torch_accuracy
from qacomp.evaluation.parity import max_abs_error
from qacomp.evaluation.samples import Given
from qacomp.fine_tuning import Session, fine_tune, tune_shared
from qacomp.formats import Writer, WriteReport, open_file, save_file
from qacomp.ladder_packing import pack_ladder
from qacomp.ladder_training import fine_tune_ladder
from qacomp.layers import Selection, select_layers, select_tensors
from qacomp.network import Network, build_network, choose_device
from qacomp.onnx_compression import compress_onnx
from qacomp.onnx_graph import OnnxSource
from qacomp.operating_points import OperatingPoint, operating_points
from qacomp.outputs import make_folder
from qacomp.packing import fp32_bytes, pack_network
from qacomp.precisions import PrecisionLadder, build_ladder, layer_levels
from qacomp.progress import Progress
from qacomp.pruning.report import PruningReport
from qacomp.pruning.stage import prune
from qacomp.pruning.zeros import NO_ZEROS
from qacomp.quantizers import plan_quantization, quantize_activations, quantize_network
from qacomp.regularizers import Regularizer
from qacomp.resolution import refuse_layer_methods, resolve
from qacomp.result import Accuracy, Result, layer_results
from qacomp.resume import ResumeStore
from qacomp.sharing.arrays import Packed, share_array
from qacomp.sharing.nested import nested_kmeans
from qacomp.sharing.network import share_network
from qacomp.submodels import describe_submodels
from qacomp.torch_format import to_array
from qacomp.training import EpochRecord
from qacomp.weight_history import Watcher, WeightHistogram, WeightHistory


class Run:
    """What one compression gathers on its way: remarks for the user, seconds a stage, training history."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.notes: list[str] = []
        self.seconds: dict[str, float] = {}
        self.history: list[EpochRecord] = []
        self.pruning: PruningReport | None = None
        self.weights: dict[str, tuple[WeightHistogram, ...]] = {}
        self.errors: dict[str, float | None] = {}
        self.snapshots: Path | None = None

    def note(self, text: str) -> None:
        """Tell the user now and in the result."""
        self.notes.append(text)
        self.progress.note(text)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what happens inside."""
        start = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


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
        return compress_onnx(checkpoint, config, output, run, samples)
    run.snapshots = snapshots
    for remark in checkpoint.notes:
        run.note(remark)
    if network is None and checkpoint.kind != "module":
        network = build_network(checkpoint, config)
    if network is None:
        return _compress_tensors(checkpoint, config, output, run)
    return _compress_network(checkpoint, network, config, dataset, output, run)


def _compress_network(
    checkpoint: Checkpoint,
    network: Network,
    config: CompressConfig,
    dataset: Dataset | None,
    output: Path,
    run: Run,
) -> Result:
    device = choose_device(config.device)
    config = resolve(config, network, dataset, device, run.note)
    selection = select_layers(network.model, config.scope, config.k, config.k_layers, **config.which)
    if not selection.layers:
        reason = next(iter(selection.skipped.values()), "it has no tensors")
        raise ConfigError(f"nothing would be compressed: {reason}; see --scope, --include, --exclude and --min-size")
    model = network.model.to(device)
    original = copy.deepcopy(model)
    store = ResumeStore(output.with_name(output.name + ".resume"), _fingerprint(checkpoint, config, dataset))
    session = None
    if dataset is not None:
        session = Session(config, dataset, network.preprocessing, original, device, run.progress, store)
    zeros = NO_ZEROS
    if config.prune != "none":
        with run.stage("prune"):
            pruned = prune(model, network.input_shape, config, session, run.note)
        run.history += pruned.records
        run.pruning, zeros = pruned.report, pruned.zeros
        selection = zeros.selection(selection, model)
        session = session and replace(session, zeros=zeros)
    bits: dict[str, int] = {}
    if config.quantizer != "none":
        plan = plan_quantization(selection, config.quantizer, config.bits, config.bits_layers, config.ends)
        selection, bits = plan.selection, plan.bits
        if config.activations is not None:
            places = quantize_activations(model, config.activations)
            run.note(f"activations: {config.activations} bits at {len(places)} ReLUs")
    penalties: dict[str, Regularizer] = {}
    weights = WeightHistory([layer.name for layer in selection.layers], original.state_dict())
    ladder: PrecisionLadder | None = None
    if session is not None and config.epochs:
        session = replace(session, watch=_watcher(weights, config.epochs, network, config, run))
        with run.stage("fine-tune"):
            if config.levels is not None and config.sharing == "straight-through":
                ladder, records = fine_tune_ladder(model, selection, session)
            else:
                penalties, records = fine_tune(model, selection, session, bits)
            run.history += records
    elif bits:
        quantize_network(model, bits, config.quantizer, scaled=config.quantizer_scale == "layer")
    if config.levels is not None:
        ladder = ladder or build_ladder(model, selection, config.levels)
        return _finish_ladder(checkpoint, network, original, ladder, selection, config, session, output, run, weights)
    with run.stage("share"):
        share_network(model, selection, penalties, run.note, zeros, config.codebook)
        if session is not None and config.batch_norm == "re-estimate":
            _reestimate(model, session, run)
    shared = copy.deepcopy(model)
    if session is not None and config.tune_epochs:
        with run.stage("tune"):
            run.history += tune_shared(model, session)
    models = {"original": original, "shared": shared, "tuned": model}
    return _finish(checkpoint, network, models, selection, config, session, output, run, weights)


def _finish_ladder(
    checkpoint: Checkpoint,
    network: Network,
    original: nn.Module,
    ladder: PrecisionLadder,
    selection: Selection,
    config: CompressConfig,
    session: Session | None,
    output: Path,
    run: Run,
    weights: WeightHistory,
) -> Result:
    """Fix the levels' clusters, tune their values, and go on with the finest level's network."""
    finest = ladder.submodel_names[-2]
    with run.stage("share"):
        ladder.freeze()
        if session is not None and config.batch_norm == "re-estimate":
            _reestimate(ladder, session, run)
    shared = ladder.submodel(finest)
    if session is not None and config.tune_epochs:
        with run.stage("tune"):
            run.history += tune_shared(ladder, session)
    models = {"original": original, "shared": shared, "tuned": ladder.submodel(finest)}
    return _finish(checkpoint, network, models, selection, config, session, output, run, weights, ladder)


def _finish(
    checkpoint: Checkpoint,
    network: Network,
    models: dict[str, nn.Module],
    selection: Selection,
    config: CompressConfig,
    session: Session | None,
    output: Path,
    run: Run,
    weights: WeightHistory,
    ladder: PrecisionLadder | None = None,
) -> Result:
    """Measure the networks on the way, pack the last one, write it, and measure what is read back."""
    accuracy, test = Accuracy(), None
    if session is not None:
        with run.stage("evaluate"):
            x, y = network.preprocessing.apply(session.dataset.test.x), session.dataset.test.y  # (N, C, H, W), (N,)
            test = x, y
            accuracy = Accuracy(**{n: torch_accuracy(m, x, y, device=session.device) for n, m in models.items()})
    with run.stage("encode"):
        if ladder is None:
            package = pack_network(network, selection, config.side)
        else:
            package = pack_ladder(network, ladder, selection, list(config.levels or ()), config.side)
        run.weights, run.errors = weights.finished(), weights.errors(package.tensors)
        meta = _meta(checkpoint, config) | {
            "arch": network.arch,
            "num_classes": network.num_classes,
            "input_shape": list(network.input_shape),
            "preprocessing": network.preprocessing.to_dict(),
            "data": config.data,
            "batch_norms": package.batch_norms,
            "accuracy": {k: v for k, v in asdict(accuracy).items() if v is not None},
        }
        if run.pruning is not None:
            meta["pruning"] = run.pruning.summary()
        if package.submodels:
            meta["submodels"] = describe_submodels(package.submodels, network.input_shape, test)
        report = save_file(output, package.tensors, graph=package.graph, meta=meta, side=config.side, cuts=package.cuts)
    with run.stage("decode"):
        probe = np.random.default_rng(config.seed).normal(size=(4, *network.input_shape)).astype(np.float32)
        if test is not None:
            probe = test[0][:64]
        with open_file(output) as container:
            points = operating_points(container)
            decoded = onnx_model(container)
            parts = {name: onnx_model(container, submodel=name) for name in package.submodels}
        error = max(
            (max_abs_error(package.submodels[name], part, probe) for name, part in parts.items()),
            default=max_abs_error(network.model, decoded, probe) if not parts else 0.0,
        )
        if test is not None:
            accuracy = replace(accuracy, decoded=onnx_accuracy(decoded, *test))
    if session is not None and session.store is not None:
        session.store.finish()
    return _result(checkpoint, config, output, run, report, selection, network.arch, accuracy, error, points)


def _reestimate(model: nn.Module, session: Session, run: Run) -> None:
    stage = session.stage("batch norm", 1, keep_best=False)
    if not reestimate_batch_norm(model, session.dataset, session.preprocessing, stage, run.progress):
        run.note("--batch-norm re-estimate: the network has no batch norm with statistics")


def _compress_tensors(checkpoint: Checkpoint, config: CompressConfig, output: Path, run: Run) -> Result:
    """No architecture: share every matrix and filter by k-means, keep the rest, write tensors without a graph."""
    if checkpoint.kind != "module":
        run.note("no architecture (--arch): weights only, no accuracy; decode gives a .safetensors file")
    refuse_layer_methods(config, "needs to know the layers: give --arch")
    if config.reg != "none":
        run.note(f"--reg {config.reg} needs an architecture to train: weights are shared by k-means alone")
    config = replace(config, reg="none", epochs=0, tune_epochs=0, sharing="after", distill="none")
    if config.levels is not None:
        config = replace(config, k=config.levels[-1])
    selection = select_tensors(checkpoint.state, config.scope, config.k, config.k_layers, **config.which)
    if not selection.layers:
        run.note("no tensor is shared, everything is kept exactly; the reasons are listed")
    packed = {name: Packed(to_array(tensor), config.side) for name, tensor in checkpoint.state.items()}
    with run.stage("share"):
        for layer in selection.layers:
            array = packed[layer.name].dense()
            if config.levels is not None and array.dtype == np.float32 and np.isfinite(array).all():
                nested = nested_kmeans(array, layer_levels(config.levels, layer.k))
                packed[layer.name] = Packed(nested, config.side)
                continue
            packed[layer.name] = share_array(array, layer, config.codebook, config.side)
            if note := packed[layer.name].note:
                run.note(note)
    with run.stage("encode"), Writer(output, meta=_meta(checkpoint, config)) as writer:
        for name, item in packed.items():
            writer.side = item.side
            writer.add(name, item.value)
    report = writer.report
    assert report is not None
    weights = WeightHistory([layer.name for layer in selection.layers], checkpoint.state)
    run.weights, run.errors = weights.finished(), weights.errors({n: item.value for n, item in packed.items()})
    return _result(checkpoint, config, output, run, report, selection, None, Accuracy(), None)


def _watcher(weights: WeightHistory, epochs: int, network: Network, config: CompressConfig, run: Run) -> Watcher:
    """What looks at the weights after each epoch; it makes the folder of the snapshots where they are asked for."""

    def write(path: Path, state: Mapping[str, Tensor]) -> None:
        write_checkpoint(
            path,
            state,
            arch=network.arch,
            num_classes=network.num_classes,
            preprocessing=network.preprocessing,
            data=config.data,
        )

    if run.snapshots is not None:
        make_folder(run.snapshots)
    return Watcher(weights, epochs, run.snapshots, write)


def _meta(checkpoint: Checkpoint, config: CompressConfig) -> dict[str, Any]:
    source = {"sha256": checkpoint.digest, "bytes": checkpoint.bytes, "kind": checkpoint.kind}
    meta = {"qacomp": qacomp.__version__, "source": source, "settings": config.to_toml()}
    return meta if config.levels is None else meta | {"levels": list(config.levels)}


def _result(
    checkpoint: Checkpoint,
    config: CompressConfig,
    output: Path,
    run: Run,
    report: WriteReport,
    selection: Selection,
    arch: str | None,
    accuracy: Accuracy,
    error: float | None,
    points: tuple[OperatingPoint, ...] = (),
) -> Result:
    before = fp32_bytes(checkpoint.state)
    values = max(1, before // 4)
    return Result(
        output=output,
        arch=arch,
        checkpoint_bytes=before,
        container_bytes=report.container_bytes,
        graph_bytes=report.graph_bytes,
        overhead_bytes=report.overhead_bytes,
        ratio=before / report.container_bytes,
        bits_per_weight=8 * report.container_bytes / values,
        accuracy=accuracy,
        max_abs_error=error,
        layers=layer_results(report, selection),
        history=tuple(run.history),
        seconds=run.seconds,
        seed=config.seed,
        settings=asdict(config),
        settings_toml=config.to_toml(),
        notes=tuple(run.notes),
        pruning=run.pruning,
        weight_history=run.weights,
        relative_errors=run.errors,
        source=str(checkpoint.path),
        operating_points=points,
    )


def _fingerprint(checkpoint: Checkpoint, config: CompressConfig, dataset: Dataset | None) -> str:
    """What a saved state belongs to: the input file, the settings, and the data's labels and a sample of its pixels."""
    parts = [checkpoint.digest, config.to_toml(), qacomp.__version__, torch.__version__]
    if dataset is not None:
        parts += [dataset.spec, hashlib.sha256(dataset.train.y.tobytes()).hexdigest()]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
