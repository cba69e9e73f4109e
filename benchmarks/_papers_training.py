"""Hold what the papers' trials share: data in memory, a network trained once a seed, and its compressions."""

import copy
import hashlib
import json
import pickle
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from _trials import WORK, data_spec
from result import shared_folder
from torch import nn

import qacomp
from qacomp.batches.arrays import ArrayBatches
from qacomp.batches.examples import Batch
from qacomp.checkpoints import read_checkpoint
from qacomp.datasets import Split, load_dataset
from qacomp.evaluation.metric import ACCURACY
from qacomp.evaluation.on_batches import network_value
from qacomp.models import create_model, model_info
from qacomp.options.config import CompressConfig
from qacomp.progress import SilentProgress
from qacomp.sources.network import Network, build_network
from qacomp.sources.torch_weights import select_layers
from qacomp.stages.resolve import resolve_network
from qacomp.training.device import choose_device, choose_precision
from qacomp.training.fine_tune import fine_tune, tune_shared
from qacomp.training.loop import Stage, TrainingHooks, parameter_groups, train
from qacomp.training.objective import Objective
from qacomp.training.quantizers import plan_quantization
from qacomp.training.setup import TrainingSetup
from qacomp.training.share_network import share_network

CPU = choose_device("cpu")


@dataclass(frozen=True)
class TensorExamples:
    """Images as tensors in memory, preprocessed once, so that no time goes into the preprocessing of batches."""

    train: ArrayBatches
    val: ArrayBatches
    test: ArrayBatches
    spec: str
    num_classes: int = 10

    @property
    def test_count(self) -> int:
        """Return the number of test images."""
        return self.test.count

    def digest(self) -> str:
        """Return the name of the data: these trainings aren't resumed in their middle."""
        return self.spec


@lru_cache(maxsize=2)
def parts(data: str, seed: int, counts: tuple[int, ...], form: Callable[[Split], Batch]) -> TensorExamples:
    """Return as many images of training, validation and test as `counts` say, drawn by the seed.

    With two counts the test part is whole.
    """
    dataset = load_dataset(known_spec(data))
    rng = np.random.default_rng(seed)
    drawn = [
        form(part.take(np.sort(rng.permutation(len(part))[:count])))
        for part, count in zip((dataset.train, dataset.val, dataset.test), counts, strict=False)
    ]
    drawn += [form(dataset.test)] if len(counts) == 2 else []
    return TensorExamples(*(ArrayBatches(part) for part in drawn), data)


def known_spec(data: str) -> str:
    """Return the spec of mnist or cifar10j in the shared folder, or the given spec itself."""
    spec = data_spec(data) if data in ("mnist", "cifar10j") else data
    assert spec is not None, "wants the shared folder"
    return spec


@lru_cache(maxsize=8)
def prepared(arch: str) -> Callable[[Split], Batch]:
    """Return what turns images into an architecture's inputs, and labels: one function for each architecture."""
    preprocessing = model_info(arch).preprocessing
    return lambda split: Batch(torch.from_numpy(preprocessing.apply(split.x)), torch.from_numpy(split.y))


def pretrained(arch: str, seed: int, s: dict[str, Any], examples: TensorExamples) -> nn.Module:
    """Return a network trained from the seed's first weights on the seed's images; kept in benchmarks/work.

    With a `checkpoint` among the settings it is that one of the shared folder, for every seed.
    """
    if "checkpoint" in s:
        shared = shared_folder()
        assert shared is not None, "wants the shared folder"
        network = build_network(read_checkpoint(shared / "ckpt" / s["checkpoint"]), CompressConfig(arch=arch))
        assert network is not None
        return network.model.eval()
    key = json.dumps([arch, seed, s["data"], s["images"], s["pretraining"]], sort_keys=True)
    path = WORK / f"papers-{arch}-{hashlib.sha256(key.encode()).hexdigest()[:12]}.pt"
    torch.manual_seed(seed)
    model = create_model(arch)
    try:
        model.load_state_dict(torch.load(path, weights_only=True))
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError):
        p = s["pretraining"]
        optimizer = torch.optim.SGD(parameter_groups(model, p["lr"], 5e-4), lr=p["lr"], momentum=0.9, nesterov=True)
        stage = Stage("train", p["epochs"], 64, seed, "none", CPU, choose_precision("auto", CPU))
        train(model, examples, stage, Objective(), optimizer, TrainingHooks(SilentProgress()))
        WORK.mkdir(parents=True, exist_ok=True)
        torch.save(model.state_dict(), path.with_suffix(".tmp"))
        path.with_suffix(".tmp").replace(path)
    return model.eval()


def compressed(
    model: nn.Module, config: CompressConfig, examples: TensorExamples, watched: str | None = None
) -> dict[str, Any]:
    """Fine-tune a copy of the network as the settings say, share its weights and tune it; return accuracies in percent.

    shared and tuned: on the test part, before and after tuning; val_shared: on the validation part, before it. Every
    network is measured once on the test part. epochs: [loss, penalty, validation accuracy] of each epoch of
    fine-tuning. watched: a layer whose weights are counted before it and after each epoch (see `counted`): weights.
    """
    network = network_of(model, config)
    setup = setup_of(model, config, examples)
    config = setup.config
    selection = select_layers(network.model, config.scope, config.k, config.k_layers)
    bits: dict[str, int] = {}
    if config.quantizer.chosen:
        plan = plan_quantization(selection, config.quantizer, config.bits, config.bits_layers)
        selection, bits = plan.selection, plan.bits
    seen: list[list[int]] = []
    if watched is not None:
        seen.append(counted(model, watched))
        setup = replace(setup, watch=lambda epoch, trained: seen.append(counted(trained, watched)))
    penalties, records = fine_tune(network.model, selection, setup, bits)
    share_network(network.model, selection, penalties, lambda text: None)
    found: dict[str, Any] = {"shared": accuracy(network.model, examples.test)}
    found["val_shared"] = accuracy(network.model, examples.val)
    found["epochs"] = [[round(r.loss, 4), round(r.penalty, 5), round(r.measured, 2)] for r in records]
    found |= {"weights": seen} if seen else {}
    if config.tune_epochs:
        tune_shared(network.model, setup)
        found["tuned"] = accuracy(network.model, examples.test)
    return found


def network_of(model: nn.Module, config: CompressConfig) -> Network:
    """Return a copy of the network, as the compression takes it."""
    assert config.arch is not None
    info = model_info(config.arch)
    return Network(copy.deepcopy(model), config.arch, 10, info.input_shape, info.preprocessing)


def setup_of(model: nn.Module, config: CompressConfig, examples: TensorExamples) -> TrainingSetup:
    """Return the setup of a training on the CPU with all settings resolved; the network itself may teach."""
    config = resolve_network(replace(config, device="cpu"), network_of(model, config), examples, lambda text: None)
    return TrainingSetup(config, examples, model, CPU, SilentProgress())


def accuracy(model: nn.Module, part: ArrayBatches) -> float:
    """Return the top-1 accuracy in percent."""
    return round(network_value(model, part, ACCURACY, batch_size=500, device=CPU), 3)


BINS, REACH = 80, 3.0
"""Bins of a histogram of weights, which spans ± so many root mean squares of the layer at that time."""


def counted(model: nn.Module, layer: str) -> list[int]:
    """Return the counts, in BINS equal parts of ± REACH root mean squares, of a layer's full-precision weights."""
    names = (f"{layer}.parametrizations.weight.original", f"{layer}.weight")
    weight = next(p for name, p in model.named_parameters() if name in names).detach()
    return [int(n) for n in torch.histc(weight / weight.square().mean().sqrt(), BINS, -REACH, REACH)]


def trained(make: Callable[[], nn.Module], examples: TensorExamples, settings: dict[str, Any], seed: int) -> Any:
    """Train a network from random weights, as `qacomp train` does; return what `course_of` takes."""
    arrays = {
        f"{axis}_{name}": getattr(part.whole, axis)
        for name, part in (("train", examples.train), ("val", examples.val), ("test", examples.test))
        for axis in ("x", "y")
    }
    return qacomp.train(make, arrays, seed=seed, augment="none", device="cpu", **settings)


def course_of(done: Any) -> dict[str, Any]:
    """Return the test accuracy and [loss, penalty, validation accuracy] of each epoch of a finished training."""
    epochs = [[round(r.loss, 4), round(r.penalty, 5), round(r.measured, 2)] for r in done.history]
    return {"test": round(done.accuracy, 3), "epochs": epochs}
