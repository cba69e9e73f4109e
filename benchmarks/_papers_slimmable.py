"""IPKD-TA from scratch: a slimmable network of four widths on MNIST at 14 x 14 pixels, trained in the paper's ways.

The network is a small dense one, so that a seed takes less than a minute of one core, and the images are few, so that a
teacher has something to teach: with all of MNIST every width is right on nearly all test images.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

import numpy as np
import torch
from _papers_training import TensorExamples, parts
from torch import nn

from qacomp.batches.arrays import ArrayBatches
from qacomp.batches.examples import Batch
from qacomp.batches.feed import rows_of
from qacomp.datasets import Split
from qacomp.evaluation.metric import ACCURACY
from qacomp.evaluation.submodels import submodel_values
from qacomp.models._slimmable import SlimmableConv2d, SlimmableNetwork, SlimmableUnit
from qacomp.progress import SilentProgress
from qacomp.training.device import choose_device, choose_precision
from qacomp.training.loop import Stage, TrainingHooks, parameter_groups, train
from qacomp.training.objective import Objective
from qacomp.training.teaching import Lesson

WIDTHS = (0.125, 0.25, 0.5, 1.0)
SETTINGS: dict[str, Any] = {
    "data": "mnist",
    "pixels": 14,
    "images": 600,
    "validation": 500,
    "passes": 80,
    "passes_per_epoch": 10,  # the best epoch is chosen on the validation images after so many passes
    "batch": 100,
    "lr": 0.1,
    "weight_decay": 1e-4,
    "temperature": 1.0,
    "weight": 0.8,
    "units": [64, 64],  # of the hidden layers at the full width
    "widths": list(WIDTHS),
}


def measure(settings: dict[str, Any], seed: int) -> dict[str, Any]:
    """Return, by strategy, the test accuracy of each width in percent, and the best epoch's mean on the validation.

    The seed chooses the images, the first weights and the order of batches, alike for every strategy.
    """
    examples = _examples(settings, seed)
    return {strategy: _trained(settings, seed, strategy, examples) for strategy in settings["strategies"]}


def _trained(s: dict[str, Any], seed: int, strategy: str, examples: TensorExamples) -> dict[str, float]:
    device = choose_device("cpu")
    torch.manual_seed(seed)
    model = network(s["pixels"] ** 2, s["units"], s["widths"])
    optimizer = torch.optim.SGD(parameter_groups(model, s["lr"], s["weight_decay"]), lr=s["lr"], momentum=0.9)
    epochs = s["passes"] // s["passes_per_epoch"]
    precision = choose_precision("auto", device)
    stage = Stage("train", epochs, s["batch"], seed, "none", device, precision, keep_best=True)
    objective = Objective(lesson=Lesson(s["weight"], s["temperature"]), strategy=strategy)
    records = train(model, examples, stage, objective, optimizer, TrainingHooks(SilentProgress()))
    accuracies = submodel_values(model, examples.test, ACCURACY, batch_size=2000)
    best = max(record.measured for record in records)
    return {name: round(value, 3) for name, value in accuracies.items()} | {"validation": round(best, 3)}


def network(pixels: int, units: list[int], widths: list[float]) -> SlimmableNetwork:
    """Return a slimmable network of dense layers (1 x 1 convolutions of one pixel): (N, pixels, 1, 1) -> (N, 10)."""
    inputs: tuple[int, ...] = (pixels,) * len(widths)
    layers = []
    for full in units:
        outputs = tuple(max(1, int(full * width)) for width in widths)
        layers.append(SlimmableUnit(SlimmableConv2d(inputs, outputs, 1, 1)))
        inputs = outputs
    return SlimmableNetwork(widths, layers, 10)


def _examples(s: dict[str, Any], seed: int) -> TensorExamples:
    drawn = parts(s["data"], seed, (s["images"], s["validation"]), _form(s["pixels"]))
    whole = drawn.train.whole
    repeated = torch.arange(len(whole.y)).repeat(s["passes_per_epoch"])
    return replace(drawn, train=ArrayBatches(Batch(rows_of(whole.x, repeated), rows_of(whole.y, repeated))))


@lru_cache(maxsize=4)
def _form(pixels: int) -> Callable[[Split], Batch]:
    return partial(_tensors, pixels=pixels)


def _tensors(split: Split, pixels: int) -> Batch:
    """Images as (N, pixels², 1, 1) float32, means of squares of pixels, centred as MNIST is; labels (N,)."""
    x = torch.from_numpy(split.x).float().reshape(len(split), 1, *split.x.shape[1:3])
    x = nn.functional.adaptive_avg_pool2d(x / (255 if split.x.dtype == np.uint8 else 1), pixels)
    return Batch(((x - 0.1307) / 0.3081).reshape(len(split), -1, 1, 1), torch.from_numpy(split.y))
