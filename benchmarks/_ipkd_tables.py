"""Tables I and II: MSDNet's exits and slimmable MobileNet's widths under each training, accuracy each and mean."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from _trials import Trials, data_spec, some_of
from result import Row
from torch import nn

from qacomp.batches.images import ImageExamples
from qacomp.datasets import load_dataset
from qacomp.evaluation.submodels import submodel_accuracies
from qacomp.models import create_model, model_info
from qacomp.models._msdnet import MultiScaleDenseNetwork
from qacomp.models._slimmable import SlimmableConv2d, SlimmableNetwork, SlimmableUnit
from qacomp.models.flexible import FlexibleModel
from qacomp.progress import SilentProgress
from qacomp.training.device import choose_device, choose_precision
from qacomp.training.loop import Stage, TrainingHooks, parameter_groups, train
from qacomp.training.objective import Objective
from qacomp.training.resume import ResumeStore
from qacomp.training.teaching import Lesson

STRATEGIES = ("none", "ipkd", "ta-1", "ta-m")  # in the order of the paper's tables
PRINTED = {  # the papers' CIFAR-10 means: no distillation, IPKD, IPKD-TA-1, IPKD-TA-M
    "msdnet": (92.39, 93.01, 92.63, 93.10),
    "slimmable_mobilenet": (88.80, 89.24, 89.17, 89.13),
}
_STAGES = ((16, 1), (32, 2), (64, 2), (96, 2))  # of the narrow network: channels, first stride


@dataclass(frozen=True)
class Experiment:
    """One network's training; `images` None: all of them."""

    build: Callable[[], nn.Module]
    epochs: int
    images: int | None
    temperature: float
    lr: float


def experiments(size: str) -> dict[str, Experiment]:
    """The paper's two networks, or narrow ones of the same shape."""
    if size == "paper":
        return {
            "msdnet": Experiment(lambda: create_model("msdnet"), 300, None, 5.0, 0.1),
            "slimmable_mobilenet": Experiment(lambda: create_model("slimmable_mobilenet"), 200, None, 1.0, 0.1),
        }
    return {
        "msdnet": Experiment(narrow_msdnet, 3, 4000, 5.0, 0.02),  # at 0.1 TA-1's early exits end constant
        "slimmable_mobilenet": Experiment(narrow_slimmable, 3, 4000, 1.0, 0.1),
    }


def tables(size: str, seeds: int) -> list[Row]:
    """A row for each network and training: each sub-model's accuracies, one a seed, and their mean."""
    rows = []
    for name, e in experiments(size).items():
        trials = Trials(f"ipkd-{name}-{size}-{e.images}x{e.epochs}-lr{e.lr}")
        for strategy, printed in zip(STRATEGIES, PRINTED[name], strict=True):
            found = [
                trials.get(f"{strategy} seed {seed}", lambda s=strategy, n=seed, m=name, e=e: _trial(m, e, s, n))
                for seed in range(seeds)
            ]
            each = {part: [one[part] for one in found] for part in found[0]}
            each["mean"] = [sum(one.values()) / len(one) for one in found]
            settings = {"epochs": e.epochs, "images": e.images, "temperature": e.temperature, "lr": e.lr, "weight": 0.8}
            text = f"{name}, --distill {strategy}" + ("" if size == "paper" else ", a narrow one on part of CIFAR-10J")
            rows.append(Row(f"{name}_{strategy}", text, settings, each | {"printed_mean": printed}))
    return rows


def _trial(name: str, e: Experiment, strategy: str, seed: int) -> dict[str, Any]:
    """Test top-1 in percent of every sub-model, after the epoch with the best mean validation accuracy."""
    spec = data_spec("cifar10j")
    assert spec is not None
    dataset = load_dataset(spec)
    if e.images is not None:
        dataset = some_of(dataset, e.images, 1000)
    preprocessing, device = model_info(name).preprocessing, choose_device("auto")
    torch.manual_seed(seed)
    model = e.build().to(device)
    assert isinstance(model, FlexibleModel) and isinstance(model, nn.Module)
    optimizer = torch.optim.SGD(parameter_groups(model, e.lr, 1e-4), lr=e.lr, momentum=0.9)
    precision = choose_precision("auto", device)
    stage = Stage("train", e.epochs, 64, seed, "crop-flip", device, precision, keep_best=True)
    objective = Objective(lesson=Lesson(0.8, e.temperature), strategy=strategy)
    store = ResumeStore(
        Trials("x").path.with_name(f"ipkd-{name}-{strategy}-{seed}.resume"), f"{name} {e.epochs} {e.images} {e.lr}"
    )
    train(
        model,
        ImageExamples(dataset, preprocessing),
        stage,
        objective,
        optimizer,
        TrainingHooks(SilentProgress(), store),
    )
    accuracies = submodel_accuracies(model, preprocessing.apply(dataset.test.x), dataset.test.y, device=device)
    store.finish()
    return {part: round(value, 3) for part, value in accuracies.items()}


def narrow_msdnet() -> nn.Module:
    """Seven exits, a layer a block, a quarter of the channels."""
    return MultiScaleDenseNetwork((1,) * 7, channels=4, growth=2, reduction=0.5, num_classes=10)


def narrow_slimmable() -> nn.Module:
    """Four widths of a network of four depthwise-separable blocks."""

    def channels(full: int) -> tuple[int, ...]:
        return tuple(full * quarter // 4 for quarter in (1, 2, 3, 4))

    inputs = channels(16)
    units = [SlimmableUnit(SlimmableConv2d((3,) * 4, inputs, 3, 2))]
    for full, stride in _STAGES:
        units.append(SlimmableUnit(SlimmableConv2d(inputs, inputs, 3, stride, depthwise=True)))
        units.append(SlimmableUnit(SlimmableConv2d(inputs, channels(full), 1, 1)))
        inputs = channels(full)
    return SlimmableNetwork((0.25, 0.5, 0.75, 1.0), units, 10)
