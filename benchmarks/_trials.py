"""What the suites that train have in common: data, networks trained once, and trials that a broken-off suite keeps."""

import copy
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from result import ROOT, shared_folder
from torch import nn

from qacomp.batches.images import ImageExamples
from qacomp.checkpoints import read_checkpoint
from qacomp.datasets import Dataset, Split
from qacomp.evaluation.accuracy import torch_accuracy
from qacomp.models.weight_places import split_name
from qacomp.options.config import CompressConfig
from qacomp.options.from_scratch import scratch_config
from qacomp.progress import SilentProgress
from qacomp.sources.network import Network, build_network
from qacomp.sources.torch_weights import select_layers
from qacomp.stages.from_scratch import train_network
from qacomp.stages.resolve import resolve_network
from qacomp.training.device import choose_device
from qacomp.training.fine_tune import fine_tune, tune_shared
from qacomp.training.quantizers import plan_quantization
from qacomp.training.setup import TrainingSetup
from qacomp.training.share_network import share_network

WORK = ROOT / "benchmarks" / "work"


def data_spec(name: str) -> str | None:
    """`mnist` or `cifar10j` as a --data spec, from the shared folder; None where there is none."""
    shared = shared_folder()
    if shared is None:
        return None
    if name == "mnist":
        return f"npz:{shared / 'data' / 'mnist.npz'}"
    WORK.mkdir(exist_ok=True)
    unpacked = WORK / "c10j.npz"
    if not unpacked.exists():
        script = shared / "data" / "unpack_cifar10.py"
        partial = unpacked.with_suffix(f".{os.getpid()}.npz")
        subprocess.run([sys.executable, str(script), str(partial)], check=True)
        partial.rename(unpacked)
    return f"npz:{unpacked}"


def some_of(dataset: Dataset, train: int, val: int) -> Dataset:
    """The same test split; the first `train` and `val` images of the others (the files' order is random)."""

    def first(split: Split, count: int) -> Split:
        return split.take(np.arange(min(count, len(split))))

    return replace(dataset, train=first(dataset.train, train), val=first(dataset.val, val))


def trained_checkpoint(arch: str, spec: str, seed: int, epochs: int) -> Path:
    """A checkpoint of `arch`, trained once and kept."""
    WORK.mkdir(exist_ok=True)
    path = WORK / f"{arch}-seed{seed}-epochs{epochs}.pt"
    if not path.exists():
        settings = {"arch": arch, "data": spec, "epochs": epochs, "batch_size": 128, "lr": 0.05, "seed": seed}
        train_network(scratch_config(settings), path, SilentProgress())
    return path


class Trials:
    """Results by key in a file; `get` runs a trial only where its result isn't there yet."""

    def __init__(self, name: str) -> None:
        self.path = WORK / f"{name}-trials.json"

    def get(self, key: str, trial: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The result of `key`, from the file or from the trial."""
        WORK.mkdir(exist_ok=True)
        known: dict[str, Any] = json.loads(self.path.read_text()) if self.path.exists() else {}
        if key not in known:
            known[key] = trial()
            print(f"  {key}: {known[key]}", flush=True)
            beside = self.path.with_suffix(".tmp")
            beside.write_text(json.dumps(known, indent=1))
            beside.replace(self.path)
        result: dict[str, Any] = known[key]
        return result


def share_and_tune(checkpoint: Path, config: CompressConfig, dataset: Dataset) -> dict[str, float]:
    """Test top-1 in percent: `original`, `shared` (pre-tuning) and, with tune_epochs, `tuned` (post-tuning).

    The pipeline's stages without its container; `val_` keys are the same on the validation split.
    """
    found = build_network(read_checkpoint(checkpoint), config)
    assert isinstance(found, Network)
    device = choose_device(config.device)
    model = found.model.to(device)
    original = copy.deepcopy(model)
    settings = resolve_network(config, found, dataset, lambda text: None)
    selection = select_layers(model, settings.scope, settings.k, settings.k_layers)
    bits: dict[str, int] = {}
    if settings.quantizer.chosen:
        plan = plan_quantization(selection, settings.quantizer, settings.bits, settings.bits_layers)
        selection, bits = plan.selection, plan.bits
    session = TrainingSetup(settings, ImageExamples(dataset, found.preprocessing), original, device, SilentProgress())
    penalties = fine_tune(model, selection, session, bits)[0] if settings.epochs else {}
    share_network(model, selection, penalties, lambda text: None)
    results = {"k": float(np.mean([_levels(model, layer.name) for layer in selection.layers]))}
    stages: dict[str, nn.Module] = {"original": original, "shared": copy.deepcopy(model)}
    if settings.tune_epochs:
        tune_shared(model, session)
        stages["tuned"] = model
    for prefix, split in (("", dataset.test), ("val_", dataset.val)):
        x = found.preprocessing.apply(split.x)  # (N, C, H, W)
        for stage, network in stages.items():
            results[prefix + stage] = round(torch_accuracy(network, x, split.y, device=device), 3)
    return results


def _levels(model: nn.Module, name: str) -> int:
    """Shared values of a layer that is shared."""
    owner, leaf = split_name(model, name)
    return int(owner.get_parameter(f"parametrizations.{leaf}.original").numel())
