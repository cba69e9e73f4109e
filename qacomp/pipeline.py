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
from torch import Tensor

import qacomp
from qacomp.batch_norm_estimation import reestimate_batch_norm
from qacomp.checkpoints import Checkpoint, write_checkpoint
from qacomp.config import CompressConfig
from qacomp.datasets import Dataset
from qacomp.decoding import onnx_model
from qacomp.errors import ConfigError
from qacomp.evaluation.accuracy import onnx_accuracy, torch_accuracy
from qacomp.evaluation.parity import max_abs_error
from qacomp.fine_tuning import Session, fine_tune, tune_shared
from qacomp.formats import Writer, WriteReport, open_file, save_file
from qacomp.layers import Selection, select_layers, select_tensors
from qacomp.network import Network, build_network, choose_device
from qacomp.onnx_compression import compress_onnx
from qacomp.onnx_graph import OnnxSource
from qacomp.outputs import make_folder
from qacomp.packing import fp32_bytes, pack_network
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
from qacomp.sharing.network import share_network
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
) -> Result:
    """Compress `checkpoint` into the container `output`; see CompressConfig for the settings.

    network: the caller's own, with the checkpoint's weights; it is changed. None builds the architecture's. snapshots:
    a folder that gets checkpoints of the fine-tuning at its quarters. Without a network or without data only the
    post-training part is done, and the notes say so. Raises the named errors of `qacomp.errors`; `output` is written
    whole or not at all.
    """
    config.check()
    run = Run(progress)
    if isinstance(checkpoint, OnnxSource):
        return compress_onnx(checkpoint, config, output, run)
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
    if session is not None and config.epochs:
        session = replace(session, watch=_watcher(weights, config.epochs, network, config, run))
        with run.stage("fine-tune"):
            penalties, records = fine_tune(model, selection, session, bits)
            run.history += records
    elif bits:
        quantize_network(model, bits, config.quantizer, scaled=config.quantizer_scale == "layer")
    with run.stage("share"):
        share_network(model, selection, penalties, run.note, zeros, config.codebook)
        if session is not None and config.batch_norm == "re-estimate":
            stage = session.stage("batch norm", 1, keep_best=False)
            if not reestimate_batch_norm(model, session.dataset, session.preprocessing, stage, run.progress):
                run.note("--batch-norm re-estimate: the network has no batch norm with statistics")
    shared = copy.deepcopy(model)
    if session is not None and config.tune_epochs:
        with run.stage("tune"):
            run.history += tune_shared(model, session)
    accuracy = Accuracy()
    if dataset is not None:
        with run.stage("evaluate"):
            x = network.preprocessing.apply(dataset.test.x)  # (N, C, H, W)
            models = {"original": original, "shared": shared, "tuned": model}
            accuracy = Accuracy(**{n: torch_accuracy(m, x, dataset.test.y, device=device) for n, m in models.items()})
    with run.stage("encode"):
        package = pack_network(network, selection, config.side)
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
        report = save_file(output, package.tensors, graph=package.graph, meta=meta, side=config.side)
    with run.stage("decode"):
        with open_file(output) as container:
            decoded = onnx_model(container)
        probe = np.random.default_rng(config.seed).normal(size=(4, *network.input_shape)).astype(np.float32)
        if dataset is not None:
            accuracy = replace(accuracy, decoded=onnx_accuracy(decoded, x, dataset.test.y))
            probe = x[:64]
        error = max_abs_error(network.model, decoded, probe)
    store.finish()
    return _result(checkpoint, config, output, run, report, selection, network.arch, accuracy, error)


def _compress_tensors(checkpoint: Checkpoint, config: CompressConfig, output: Path, run: Run) -> Result:
    """No architecture: share every matrix and filter by k-means, keep the rest, write tensors without a graph."""
    if checkpoint.kind != "module":
        run.note("no architecture (--arch): weights only, no accuracy; decode gives a .safetensors file")
    refuse_layer_methods(config, "needs to know the layers: give --arch")
    if config.reg != "none":
        run.note(f"--reg {config.reg} needs an architecture to train: weights are shared by k-means alone")
    config = replace(config, reg="none", epochs=0, tune_epochs=0, sharing="after", distill="none")
    selection = select_tensors(checkpoint.state, config.scope, config.k, config.k_layers, **config.which)
    if not selection.layers:
        run.note("no tensor is shared, everything is kept exactly; the reasons are listed")
    packed = {name: Packed(to_array(tensor), config.side) for name, tensor in checkpoint.state.items()}
    with run.stage("share"):
        for layer in selection.layers:
            packed[layer.name] = share_array(packed[layer.name].dense(), layer, config.codebook, config.side)
            if note := packed[layer.name].note:
                run.note(note)
    with run.stage("encode"), Writer(output, meta=_meta(checkpoint, config)) as writer:
        for name, item in packed.items():
            writer.side = item.side
            writer.add(name, item.value)
    report = writer.report
    assert report is not None
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
    return {"qacomp": qacomp.__version__, "source": source, "settings": config.to_toml()}


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
    )


def _fingerprint(checkpoint: Checkpoint, config: CompressConfig, dataset: Dataset | None) -> str:
    """What a saved state belongs to: the input file, the settings, and the data's labels and a sample of its pixels."""
    parts = [checkpoint.digest, config.to_toml(), qacomp.__version__, torch.__version__]
    if dataset is not None:
        parts += [dataset.spec, hashlib.sha256(dataset.train.y.tobytes()).hexdigest()]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
