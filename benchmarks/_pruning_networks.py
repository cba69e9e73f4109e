"""EPruning and magnitude pruning of whole networks at one rate: the rows of EPruning's table 1, seed by seed.

Every run keeps its row and its pruned network in benchmarks/work/pruning, and its finished epochs while it lasts, so a
suite that is broken off goes on there.
"""

import copy
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from result import ROOT, Row, median, spread
from torch import nn

from qacomp.batches.images import ImageExamples
from qacomp.checkpoints import read_checkpoint
from qacomp.datasets import Dataset, load_dataset
from qacomp.evaluation.accuracy import onnx_logits, topk_accuracy, torch_logits
from qacomp.graphs.network import export_dense
from qacomp.options.config import CompressConfig
from qacomp.options.from_scratch import scratch_config
from qacomp.options.method import MethodChoice
from qacomp.progress import SilentProgress
from qacomp.runtime.latency import onnx_latency
from qacomp.sources.network import Network, build_network
from qacomp.stages.from_scratch import train_network
from qacomp.stages.resolve import resolve_network
from qacomp.training.device import choose_device
from qacomp.training.pruning.channels import trace_channels
from qacomp.training.pruning.methods import PruningMasks, pruner_of
from qacomp.training.pruning.stage import finish
from qacomp.training.pruning.units import apply_masks, find_units
from qacomp.training.resume import ResumeStore
from qacomp.training.setup import TrainingSetup

SHARED = Path(os.environ.get("QACOMP_SHARED", ROOT.parent / "shared"))
WORK = ROOT / "benchmarks" / "work" / "pruning"


@dataclass(frozen=True)
class Case:
    """One network on one data set. `images`: of the training split, all where None; `epochs` of pruning and
    retraining, of which `search` before the state is frozen; `pretraining`: epochs, where there is no checkpoint."""

    name: str
    arch: str
    data: str
    images: int | None
    epochs: int
    search: int
    batch_size: int = 128
    checkpoint: str | None = None
    pretraining: int = 6


CASES = {
    "small": (
        Case("lenet5_mnist", "lenet5", "mnist", 6_400, 6, 2, 64),
        Case("resnet20_c10j", "resnet20", "c10j", 8_000, 5, 1, 64, "resnet20_cifar10j.pth"),
    ),
    "paper": (
        Case("lenet5_mnist", "lenet5", "mnist", None, 40, 20),
        Case("resnet20_c10j", "resnet20", "c10j", None, 100, 50, 128, "resnet20_cifar10j.pth"),
        Case("resnet18_c10j", "resnet18", "c10j", None, 200, 100, pretraining=100),
        Case("resnet50_c10j", "resnet50", "c10j", None, 200, 100, pretraining=100),
        Case("squeezenet_c10j", "squeezenet", "c10j", None, 200, 100, pretraining=100),
    ),
}
METHODS: dict[str, dict[str, Any]] = {
    "magnitude": {"prune": "magnitude:unit=filter"},
    "energy": {"prune": "energy"},
    "energy_random": {"prune": "energy:start=random,parents=keep"},
}
RATE = 0.5


def data_spec(name: str) -> str:
    """npz of MNIST, or of CIFAR-10J, unpacked once."""
    if name == "mnist":
        return f"npz:{SHARED / 'data' / 'mnist.npz'}"
    target = WORK.parent / "c10j.npz"
    if not target.exists():
        subprocess.run([sys.executable, str(SHARED / "data" / "unpack_cifar10.py"), str(target)], check=True)
    return f"npz:{target}"


def checkpoint_of(case: Case) -> Path:
    """The published checkpoint, or one that is trained here once."""
    if case.checkpoint:
        return SHARED / "ckpt" / case.checkpoint
    path = WORK / f"{case.arch}.pt"
    if not path.exists():
        settings = {"arch": case.arch, "data": data_spec(case.data), "epochs": case.pretraining}
        train_network(scratch_config(settings), path, SilentProgress())
    return path


def table(size: str, seeds: int) -> Iterator[Row]:
    """Rows: each network as it came, then each method on each seed."""
    WORK.mkdir(parents=True, exist_ok=True)
    for case in CASES[size]:
        dataset = load_dataset(data_spec(case.data))
        yield _kept(f"{size}_{case.name}_original", lambda c=case, d=dataset: _original(c, d))  # type: ignore[misc]
        for method in METHODS:
            for seed in range(1 if method == "energy_random" and size == "small" else seeds):
                name = f"{size}_{case.name}_{method}_{seed}"
                yield _kept(name, lambda c=case, d=dataset, m=method, s=seed, n=name: _pruned(c, d, m, s, n))  # type: ignore[misc]


def _kept(name: str, make: Any) -> Row:
    path = WORK / f"{name}.json"
    if path.exists():
        return Row(**json.loads(path.read_text()))
    row: Row = make()
    path.write_text(json.dumps(asdict(row)))
    print(f"{name}: {row.results['P']['top1']:.2f} %, R {row.results['R']:.2f} %", file=sys.stderr, flush=True)
    return row


def _settings(case: Case, method: str, seed: int) -> CompressConfig:
    config = CompressConfig(arch=case.arch, data=case.data, seed=seed, batch_size=case.batch_size, lr=0.02)
    prune = replace(config, **METHODS[method]).prune.filled(rate=RATE, epochs=case.epochs)
    if prune.name == "energy":
        prune = prune.filled(stagnation=case.search)
    return replace(config, prune=prune).check()


def _network(case: Case, config: CompressConfig) -> Network:
    network = build_network(read_checkpoint(checkpoint_of(case)), config)
    assert network is not None
    return network


def _original(case: Case, dataset: Dataset) -> Row:
    network = _network(case, CompressConfig(arch=case.arch))
    parameters = sum(p.numel() for p in network.model.parameters())
    results = {"P": measures(network, network.model, dataset), "R": 100.0, "parameters": parameters}
    return Row(f"{case.name}_original", case.arch, {}, results)


def _pruned(case: Case, dataset: Dataset, method: str, seed: int, name: str) -> Row:
    config = _settings(case, method, seed)
    network = _network(case, config)
    device = choose_device(config.device)
    chosen = np.random.default_rng(0).permutation(len(dataset.train.y))[: case.images]
    part = replace(dataset, train=dataset.train.take(chosen), val=dataset.val.take(np.arange(500)))
    config = resolve_network(config, network, part, lambda text: None)
    model = network.model.to(device)
    original = copy.deepcopy(model)
    store = ResumeStore(WORK / f"{name}.resume", config.to_toml() + str(case))
    session = TrainingSetup(
        config, ImageExamples(part, network.preprocessing), original, device, SilentProgress(), store
    )
    units = find_units(trace_channels(model, network.input_shape))
    pruner = pruner_of(config.prune)
    trained = pruner.train(model, units, session)
    results: dict[str, Any] = {}
    if pruner.name == "energy":
        results["F"] = measures(network, model, dataset)  # no gates, every value there
    if seed == 0:
        results |= exported(network, model, original, trained, dataset)
    report = finish(model, units, trained, pruner, lambda text: None).report
    results |= {"P": measures(network, model, dataset), "R": 100 * report.kept_share}
    results |= {"parameters": report.parameters_kept, "parameters_left": report.parameters_left}
    results |= {"units": report.units, "units_active": report.units_active, "frozen_after": report.frozen_after}
    results["epochs"] = [{"cross_entropy": r.loss, "validation": r.validation_accuracy} for r in trained.records]
    results["search"] = [asdict(epoch) for epoch in report.search]
    results["stays"] = report.stays
    store.finish()
    settings = {"images": case.images, "epochs": case.epochs, "search": case.search, "batch": case.batch_size}
    return Row(f"{case.name}_{method}", f"{case.arch}, {method}, seed {seed}", settings | {"seed": seed}, results)


def measures(network: Network, model: nn.Module, dataset: Dataset) -> dict[str, float]:
    """Loss and top-1, top-3, top-5 in percent on the test split."""
    device = choose_device("auto")
    x = network.preprocessing.apply(dataset.test.x)  # (N, C, H, W)
    logits = torch_logits(model, x, batch_size=256, device=device)
    loss = F.cross_entropy(torch.from_numpy(logits), torch.from_numpy(dataset.test.y))
    tops = {f"top{k}": topk_accuracy(logits, dataset.test.y, k) for k in (1, 3, 5)}
    return {"loss": float(loss), **tops}


def exported(
    network: Network, model: nn.Module, original: nn.Module, trained: PruningMasks, dataset: Dataset
) -> dict[str, Any]:
    """The pruned network without its dead units as ONNX: outputs against the masked one, time against the whole one."""
    masked = copy.deepcopy(model)
    apply_masks(masked, trained.masks)
    small = copy.deepcopy(model)
    units = find_units(trace_channels(small, network.input_shape))
    finish(small, units, trained, pruner_of(MethodChoice("energy")), lambda text: None)
    whole = export_dense(original, network.input_shape).SerializeToString()
    removed = export_dense(small, network.input_shape).SerializeToString()
    x = network.preprocessing.apply(dataset.test.x[:256])
    error = float(np.abs(torch_logits(masked, x) - onnx_logits(removed, x)).max())
    speedups, times = [], []
    for _ in range(7):
        pair = [onnx_latency(m, network.input_shape, runs=60).p50_ms for m in (whole, removed)]
        times.append(pair)
        speedups.append(pair[0] / pair[1])
    return {
        "onnx_bytes": {"whole": len(whole), "removed": len(removed)},
        "onnx_ms": {"whole": median([t[0] for t in times]), "removed": median([t[1] for t in times])},
        "onnx_speedup": median(speedups),
        "onnx_speedup_sd": spread(speedups),
        "onnx_max_abs_error": error,
    }
