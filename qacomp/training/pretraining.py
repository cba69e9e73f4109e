"""Train a network from random weights, so that qacomp can be tried without a checkpoint."""

import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from qacomp.batches.images import ImageExamples
from qacomp.checkpoints import CheckpointFacts, write_checkpoint
from qacomp.datasets import load_dataset
from qacomp.datasets.preprocessing_choice import choose_preprocessing
from qacomp.errors import ConfigError, DataError
from qacomp.evaluation.metric import ACCURACY
from qacomp.evaluation.on_batches import network_value
from qacomp.evaluation.submodels import submodel_values
from qacomp.models import create_model, model_info
from qacomp.models.flexible import FlexibleModel
from qacomp.options.config import CompressConfig
from qacomp.options.method import NO_METHOD, MethodChoice
from qacomp.outputs import Output, claim, resume_output
from qacomp.progress import Progress
from qacomp.ranks.ranks import ALONE, Ranks
from qacomp.sources.input_files import command_files
from qacomp.training.descent import Descent
from qacomp.training.device import choose_device, choose_precision
from qacomp.training.distillation import among_submodels, lesson_of
from qacomp.training.history import EpochRecord
from qacomp.training.loop import Stage, TrainingHooks, parameter_groups, train
from qacomp.training.objective import Objective
from qacomp.training.optimizers import make_optimizer, weight_decay_of
from qacomp.training.resume import ResumeStore

_STEPS = 800
FROM_SCRATCH = MethodChoice("sgd", {"nesterov": "true", "weight_decay": "0.0005"})
"""The default optimizer: an untrained network bears five times the weight decay of a trained one's fine-tuning."""


@dataclass(frozen=True)
class TrainConfig:
    """The settings of `qacomp train`.

    network: architecture, data, preprocessing and device; epochs: None for as many as make about 800 steps.
    distill: how the sub-models of a flexible network learn from each other: ipkd, ta-1 or ta-m, with hyper-parameters.
    optimizer: one of `qacomp.training.optimizers`.
    """

    network: CompressConfig
    epochs: int | None = None
    batch_size: int = 64
    lr: float = 0.02
    seed: int = 0
    distill: MethodChoice = NO_METHOD
    optimizer: MethodChoice = FROM_SCRATCH


@dataclass(frozen=True)
class TrainedCheckpoint:
    """A trained checkpoint: its size in bytes, its top-1 accuracy in percent on the test and the validation split.

    For a flexible network `accuracy` is that of the largest sub-model, `submodels` those of all by name (else empty),
    and `validation_accuracy` their mean.
    """

    output: Path
    arch: str
    parameters: int
    bytes: int
    accuracy: float
    validation_accuracy: float
    history: tuple[EpochRecord, ...]
    seed: int
    submodels: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """Return the document that `train --json` prints."""
        return {**asdict(self), "output": str(self.output)}


def train_network(
    config: TrainConfig, output: Path, progress: Progress, *, force: bool = False, ranks: Ranks = ALONE
) -> TrainedCheckpoint:
    """Train a network and write it as a checkpoint; the epoch with the best validation accuracy is kept.

    force: overwrite an existing file. ranks: the processes that share the training; the first one writes. Raises
    UnknownArchitectureError, UnknownDataSpecError, DataError, OutputNotWritableError, DivergedError, RanksError, and
    ConfigError for --distill on a network without sub-models.
    """
    shape = config.network
    if ranks.first:
        claim([Output(output), resume_output(output)], command_files([], [shape.data]), force=force)
    assert shape.arch is not None and shape.data is not None
    arch, info = shape.arch, model_info(shape.arch)
    preprocessing = choose_preprocessing(shape, info.preprocessing)
    dataset = load_dataset(shape.data)
    num_classes = max(dataset.num_classes, 2)
    if len(dataset.train.y) < 2:
        raise DataError(f"{shape.data}: {len(dataset.train.y)} training sample; training needs two or more")
    data, device = ImageExamples(dataset, preprocessing), choose_device(shape.device)
    precision = ranks.from_first(lambda: choose_precision(shape.precision, device))
    torch.manual_seed(config.seed)
    model = create_model(shape.arch, num_classes).to(device)
    epochs = config.epochs or min(100, max(5, math.ceil(_STEPS / data.train.steps(config.batch_size))))
    augment = "crop-flip" if preprocessing.channels == 3 else "none"
    stage = Stage("train", epochs, config.batch_size, config.seed, augment, device, precision, keep_best=True)
    stage = replace(stage, descent=Descent.of(config.optimizer), ranks=ranks)
    groups = parameter_groups(model, config.lr, weight_decay_of(config.optimizer))
    optimizer = make_optimizer(config.optimizer, groups, config.lr)
    store = ResumeStore(output.with_name(output.name + ".resume"), f"{config} {torch.__version__}")
    objective = _objective(model, config)
    history = train(model, data, stage, objective, optimizer, TrainingHooks(progress, store if ranks.first else None))

    def written() -> TrainedCheckpoint:
        accuracy = network_value(model, data.test, ACCURACY, batch_size=256, device=device)
        submodels = {}
        if isinstance(model, FlexibleModel):
            submodels = submodel_values(model, data.test, ACCURACY, device=device)
        state = {name: tensor.cpu().contiguous() for name, tensor in model.state_dict().items()}
        extra = {"accuracy": accuracy, "epochs": epochs, "seed": config.seed, "submodels": submodels}
        write_checkpoint(output, state, CheckpointFacts(shape.arch, num_classes, preprocessing, shape.data, extra))
        store.finish()
        best = max(record.measured for record in history)
        parameters = sum(p.numel() for p in model.parameters())
        size = output.stat().st_size
        return TrainedCheckpoint(
            output, arch, parameters, size, accuracy, best, tuple(history), config.seed, submodels=submodels
        )

    return ranks.from_first(written)


def _objective(model: nn.Module, config: TrainConfig) -> Objective:
    if config.distill.chosen and not isinstance(model, FlexibleModel):
        raise ConfigError(
            f"--distill {config.distill.name}: {config.network.arch} has no sub-models; train msdnet or "
            "slimmable_mobilenet"
        )
    if config.distill.chosen and not among_submodels(config.distill):
        name = config.distill.name
        raise ConfigError(f"--distill {name}: a network trained from the start has no teacher; give ipkd or ta-m")
    return Objective(lesson=lesson_of(model, config.distill), strategy=config.distill.name)
