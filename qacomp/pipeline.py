"""Compression, a stage a call: load, fine-tune with the regularizer, share, tune, pack, write, measure."""

import copy
import hashlib
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

import qacomp
from qacomp.batching import batch_count
from qacomp.checkpoints import Checkpoint
from qacomp.config import CompressConfig
from qacomp.datasets import Dataset
from qacomp.errors import ConfigError, DataError
from qacomp.evaluation.accuracy import onnx_accuracy, torch_accuracy
from qacomp.evaluation.parity import max_abs_error
from qacomp.formats import SharedTensor, WriteReport, open_file, save_file
from qacomp.layers import Selection, select_layers, select_tensors
from qacomp.network import Network, build_network, choose_device, choose_precision
from qacomp.objective import Objective
from qacomp.onnx_export.graph import attach_weights
from qacomp.packing import TensorLike, fp32_bytes, pack_network, split_name
from qacomp.progress import Progress
from qacomp.regularizers import Regularizer, regularizer_class
from qacomp.result import Accuracy, Result, layer_results
from qacomp.resume import ResumeStore
from qacomp.sharing.kmeans import assign, kmeans
from qacomp.sharing.parametrization import share_weight
from qacomp.training import EpochRecord, Stage, level_group, parameter_groups, train

_FINE_TUNE_STEPS = 1000
_TUNE_STEPS = 600


class Run:
    """What one compression gathers on its way: remarks for the user, seconds a stage, training history."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.notes: list[str] = []
        self.seconds: dict[str, float] = {}
        self.history: list[EpochRecord] = []

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
    checkpoint: Checkpoint, config: CompressConfig, dataset: Dataset | None, output: Path, progress: Progress
) -> Result:
    """Compress `checkpoint` into the container `output`; see CompressConfig for the settings.

    Without an architecture or without data only the post-training part is done, and the notes say so. Raises the named
    errors of `qacomp.errors`; `output` is written whole or not at all.
    """
    config.check()
    run = Run(progress)
    for remark in checkpoint.notes:
        run.note(remark)
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
    config = _resolve(config, network, dataset, run)
    config = replace(config, precision=choose_precision(config.precision, device))
    selection = select_layers(network.model, config.scope, config.k, config.k_layers)
    if not selection.layers:
        raise ConfigError(f"--scope {config.scope}: the network has no such layer, nothing would be compressed")
    model = network.model.to(device)
    original = copy.deepcopy(model)
    store = ResumeStore(output.with_name(output.name + ".resume"), _fingerprint(checkpoint, config, dataset))
    penalties: dict[str, Regularizer] = {}
    if config.reg != "none":
        with run.stage("fine-tune"):
            assert dataset is not None
            penalties = _fine_tune(model, original, network, selection, config, dataset, store, device, run)
    with run.stage("share"):
        _share(model, selection, penalties, run)
    shared = copy.deepcopy(model)
    if config.tune_epochs and dataset is not None:
        with run.stage("tune"):
            _tune(model, original, network, config, dataset, store, device, run)
    accuracy = Accuracy()
    if dataset is not None:
        with run.stage("evaluate"):
            x = network.preprocessing.apply(dataset.test.x)  # (N, C, H, W)
            scores = {
                name: torch_accuracy(m, x, dataset.test.y, batch_size=256, device=device)
                for name, m in (("original", original), ("shared", shared), ("tuned", model))
            }
            accuracy = Accuracy(**scores)
    del shared
    with run.stage("encode"):
        package = pack_network(network, selection, config.side)
        meta = _meta(checkpoint, config) | {
            "arch": network.arch,
            "num_classes": network.num_classes,
            "input_shape": list(network.input_shape),
            "preprocessing": network.preprocessing.to_dict(),
            "data": config.data,
            "batch_norms": package.batch_norms,
            "accuracy": {k: v for k, v in asdict(accuracy).items() if v is not None},
        }
        report = save_file(output, package.tensors, graph=package.graph, meta=meta, side=config.side)
    with run.stage("decode"), open_file(output) as container:
        stored_graph = container.graph()
        assert stored_graph is not None
        onnx_model = attach_weights(stored_graph, {n: container.tensor(n) for n in container.names})
        probe = torch.randn(4, *network.input_shape, generator=torch.Generator().manual_seed(config.seed))
        if dataset is not None:
            serialized = onnx_model.SerializeToString()
            accuracy = replace(accuracy, decoded=onnx_accuracy(serialized, x, dataset.test.y))
            probe = torch.from_numpy(x[:64])
        error = max_abs_error(network.model, onnx_model, probe.numpy())
    store.finish()
    return _result(checkpoint, config, output, run, report, selection, network.arch, accuracy, error)


def _resolve(config: CompressConfig, network: Network, dataset: Dataset | None, run: Run) -> CompressConfig:
    """The settings with every None that means "chosen from network and data" replaced by the choice."""
    if dataset is None:
        if config.reg != "none" or config.tune_epochs:
            run.note("no data: no fine-tuning and no tuning, weights are shared by k-means alone; give --data")
        return replace(config, arch=network.arch, reg="none", epochs=0, tune_epochs=0, strength=0.0)
    if dataset.num_classes > network.num_classes:
        raise DataError(f"{dataset.spec}: {dataset.num_classes} classes, but the network has {network.num_classes}")
    steps = batch_count(dataset.train, config.batch_size)
    epochs, tune_epochs, strength, augment = config.epochs, config.tune_epochs, config.strength, config.augment
    if epochs is None:
        epochs = min(30, max(3, math.ceil(_FINE_TUNE_STEPS / steps)))
    if tune_epochs is None:
        tune_epochs = min(20, max(2, math.ceil(_TUNE_STEPS / steps)))
    if config.reg == "none":
        epochs, strength = 0, 0.0
    elif strength is None:
        strength = regularizer_class(config.reg).default_strength
    if augment == "auto":
        augment = "crop-flip" if network.preprocessing.channels == 3 else "none"
    return replace(
        config, arch=network.arch, epochs=epochs, tune_epochs=tune_epochs, strength=strength, augment=augment
    )


def _fine_tune(
    model: nn.Module,
    original: nn.Module,
    network: Network,
    selection: Selection,
    config: CompressConfig,
    dataset: Dataset,
    store: ResumeStore,
    device: torch.device,
    run: Run,
) -> dict[str, Regularizer]:
    """Train all weights and the representatives on task loss + λR; returns each layer's trained regularizer."""
    cls = regularizer_class(config.reg)
    penalties = {
        layer.name: cls.for_weights(model.get_parameter(layer.name), layer.k).to(device) for layer in selection.layers
    }
    groups = parameter_groups(model, config.lr, config.weight_decay)
    levels = level_group(penalties.values(), config.lr_levels)
    optimizer = torch.optim.SGD(groups + ([levels] if levels["params"] else []), lr=config.lr, momentum=config.momentum)
    assert config.epochs is not None and config.strength is not None
    objective = Objective(penalties, config.strength, config.warmup, *_teacher(original, config))
    stage = Stage("fine-tune", config.epochs, config.batch_size, config.seed, config.augment == "crop-flip", device)
    run.history += train(
        model, dataset, network.preprocessing, stage, objective, optimizer, progress=run.progress, store=store
    )
    return penalties


def _share(model: nn.Module, selection: Selection, penalties: dict[str, Regularizer], run: Run) -> None:
    """Replace each layer's weights by shared ones: the learned representatives' clusters, or k-means without any.

    Learned representatives are recomputed as their cluster's centroid (Malchiodi et al., section III-C).
    """
    for layer in selection.layers:
        owner, leaf = split_name(model, layer.name)
        weights = model.get_parameter(layer.name).detach().cpu().contiguous().numpy()
        if layer.name in penalties:
            levels = penalties[layer.name].levels().detach().cpu().numpy()
            codebook, indices = _centroids(weights, assign(weights, levels))
        else:
            clustering = kmeans(weights, layer.k)
            codebook, indices = clustering.codebook, clustering.indices
        if codebook.size < layer.k:
            run.note(f"{layer.name}: {codebook.size} shared values instead of {layer.k}: its weights need no more")
        share_weight(owner, leaf, codebook, indices)


def _centroids(weights: Any, indices: Any) -> tuple[Any, Any]:
    """Codebook of the used clusters' means (K',) and indices renumbered to it."""
    import numpy as np

    used, renumbered = np.unique(indices, return_inverse=True)
    renumbered = renumbered.reshape(indices.shape)
    counts = np.bincount(renumbered.reshape(-1))
    sums = np.bincount(renumbered.reshape(-1), weights=weights.reshape(-1))
    return (sums / counts).astype(weights.dtype), renumbered.astype(indices.dtype)


def _tune(
    model: nn.Module,
    original: nn.Module,
    network: Network,
    config: CompressConfig,
    dataset: Dataset,
    store: ResumeStore,
    device: torch.device,
    run: Run,
) -> None:
    """Cumulative tuning: the clusters stay, the shared values and the small unshared vectors move."""
    assert config.tune_epochs is not None
    optimizer = torch.optim.Adam(parameter_groups(model, config.lr_tune, 0.0), lr=config.lr_tune)
    stage = Stage(
        "tune", config.tune_epochs, config.batch_size, config.seed, config.augment == "crop-flip", device, config.precision, True
    )
    objective = Objective({}, 0.0, 0.0, *_teacher(original, config))
    run.history += train(
        model, dataset, network.preprocessing, stage, objective, optimizer, progress=run.progress, store=store
    )


def _teacher(original: nn.Module, config: CompressConfig) -> tuple[nn.Module | None, float, float]:
    return (original if config.distill == "kd" else None), config.distill_weight, config.temperature


def _compress_tensors(checkpoint: Checkpoint, config: CompressConfig, output: Path, run: Run) -> Result:
    """No architecture: share every matrix and filter by k-means, keep the rest, write tensors without a graph."""
    run.note("no architecture (--arch): weights only, no accuracy; decode gives a .safetensors file")
    if config.reg != "none":
        run.note(f"--reg {config.reg} needs an architecture to train: weights are shared by k-means alone")
    config = replace(config, reg="none", epochs=0, tune_epochs=0, strength=0.0)
    selection = select_tensors(checkpoint.state, config.scope, config.k, config.k_layers)
    if not selection.layers:
        run.note("no tensor of two or more dimensions: nothing is shared, everything is kept exactly")
    tensors: dict[str, TensorLike] = {n: t.numpy() for n, t in checkpoint.state.items()}
    with run.stage("share"):
        for layer in selection.layers:
            clustering = kmeans(checkpoint.state[layer.name].float().numpy(), layer.k)
            if clustering.codebook.size < layer.k:
                run.note(f"{layer.name}: {clustering.codebook.size} shared values instead of {layer.k}")
            tensors[layer.name] = SharedTensor(clustering.codebook, clustering.indices)
    with run.stage("encode"):
        report = save_file(output, tensors, meta=_meta(checkpoint, config), side=config.side)
    return _result(checkpoint, config, output, run, report, selection, None, Accuracy(), None)


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
        layers=layer_results(report, selection.skipped),
        history=tuple(run.history),
        seconds=run.seconds,
        seed=config.seed,
        settings=asdict(config),
        settings_toml=config.to_toml(),
        notes=tuple(run.notes),
    )


def _fingerprint(checkpoint: Checkpoint, config: CompressConfig, dataset: Dataset | None) -> str:
    """What a saved state belongs to: the input file, the settings, and the data's labels and a sample of its pixels."""
    parts = [checkpoint.digest, config.to_toml(), qacomp.__version__, torch.__version__]
    if dataset is not None:
        parts += [dataset.spec, hashlib.sha256(dataset.train.y.tobytes()).hexdigest()]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
