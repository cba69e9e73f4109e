"""The training loop: one stage of epochs over a dataset's training split, resumable after every epoch."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from qacomp.datasets import Dataset
from qacomp.datasets.preprocessing import Preprocessing
from qacomp.errors import QacompError
from qacomp.evaluation.accuracy import torch_accuracy
from qacomp.evaluation.submodels import submodel_accuracies
from qacomp.models.flexible import FlexibleModel
from qacomp.progress import Progress, Task
from qacomp.training.batches import batch_count, epoch_seed, training_batches
from qacomp.training.history import EpochRecord
from qacomp.training.objective import Objective
from qacomp.training.resume import ResumeStore


class DivergedError(QacompError):
    """The training loss became NaN or infinite."""


@dataclass(frozen=True)
class Stage:
    """One stage of training. `name` seeds its shuffling and names it in reports.

    `precision` (fp32 | bf16) is that of the matrix products. `keep_best` restores, at the end, the state of the epoch
    with the best validation accuracy (the state before the first epoch counts as one); otherwise the last epoch's
    stays, which a rising λ needs.
    """

    name: str
    epochs: int
    batch_size: int
    seed: int
    augment: bool
    device: torch.device
    precision: str = "fp32"
    keep_best: bool = False


def train(
    model: nn.Module,
    dataset: Dataset,
    preprocessing: Preprocessing,
    stage: Stage,
    objective: Objective,
    optimizer: Optimizer,
    *,
    progress: Progress,
    store: ResumeStore | None = None,
    watch: Callable[[int, nn.Module], None] | None = None,
) -> list[EpochRecord]:
    """Train `model` in place; its learning rates rise for a moment, then fall along a cosine to zero.

    With a store, the state is saved after an epoch and a stage that was broken off goes on where it was. `watch` is
    called with each epoch's number, from 1, and the model after it. Raises DivergedError.
    """
    steps = batch_count(dataset.train, stage.batch_size)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, Cosine(steps * stage.epochs))
    beside = objective.modules()
    parts: dict[str, Any] = {"model": model, "optimizer": optimizer, "schedule": schedule, "penalties": beside}
    records: list[EpochRecord] = []
    best: tuple[float, dict[str, Tensor]] = (-1.0, {})
    saved = store.load(stage.name) if store else None
    if saved is not None:
        for key, part in parts.items():
            part.load_state_dict(saved[key])
        records = [EpochRecord(**r) for r in saved["records"]]
        best = (saved["best_accuracy"], saved["best"])
    elif stage.keep_best:
        best = (_validate(model, dataset, preprocessing, stage), _copy(model))
    with progress.task(stage.name, steps * stage.epochs) as task:
        task.advance(steps * len(records))
        for epoch in range(len(records), stage.epochs):
            records.append(
                _epoch(model, dataset, preprocessing, stage, objective, optimizer, schedule, epoch, steps, task)
            )
            if stage.keep_best and records[-1].validation_accuracy > best[0]:
                best = (records[-1].validation_accuracy, _copy(model))
            last = records[-1]
            figures = f"loss {last.loss:.4f}, val {last.validation_accuracy:.2f} %"
            task.describe(f"epoch {epoch + 1}/{stage.epochs}, {figures}")
            if watch:
                watch(epoch + 1, model)
            if store:
                state = {key: part.state_dict() for key, part in parts.items()}
                state |= {"records": [asdict(r) for r in records], "best_accuracy": best[0], "best": best[1]}
                store.save(stage.name, state, last=epoch + 1 == stage.epochs)
    if stage.keep_best:
        model.load_state_dict(best[1])
    model.eval()
    return records


def _epoch(
    model: nn.Module,
    dataset: Dataset,
    preprocessing: Preprocessing,
    stage: Stage,
    objective: Objective,
    optimizer: Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    epoch: int,
    steps: int,
    task: Task,
) -> EpochRecord:
    entropy = epoch_seed(stage.seed, stage.name, epoch)
    torch.manual_seed(hash(tuple(entropy)) & 0x7FFFFFFF)  # dropout; hashes of ints don't vary between processes
    loss_sum = penalty_sum = 0.0
    model.train()
    batches = training_batches(dataset.train, preprocessing, stage.batch_size, augment=stage.augment, entropy=entropy)
    for step, (x, y) in enumerate(batches):
        x, y = to_device(x, stage.device), y.to(stage.device)
        with torch.autocast(stage.device.type, torch.bfloat16, enabled=stage.precision == "bf16"):
            task_loss = objective.task_loss(model, x, y)
        optimizer.zero_grad(set_to_none=True)
        task_loss.backward()  # type: ignore[no-untyped-call]
        penalty = objective.add_penalty_gradients(model, (epoch * steps + step) / (steps * stage.epochs))
        optimizer.step()
        schedule.step()
        value = float(task_loss.detach())
        if not math.isfinite(value):
            raise DivergedError(
                f"{stage.name}: the loss became {value} in epoch {epoch + 1}; try a smaller --lr or --strength"
            )
        loss_sum += value
        penalty_sum += float(penalty)
        task.advance()
    accuracy = _validate(model, dataset, preprocessing, stage)
    return EpochRecord(stage.name, epoch + 1, loss_sum / steps, penalty_sum / steps, accuracy)


def to_device(x: Tensor, device: torch.device) -> Tensor:
    """Move a batch of images (B, C, H, W), channels last: the layout in which CPU and GPU convolutions are fastest."""
    return x.to(device, memory_format=torch.channels_last) if x.ndim == 4 else x.to(device)


def parameter_groups(model: nn.Module, lr: float, weight_decay: float) -> list[dict[str, Any]]:
    """Optimizer groups: matrices and filters decay, vectors (biases, batch norm, codebooks) don't."""
    trainable = [p for p in model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in trainable if p.ndim >= 2], "lr": lr, "weight_decay": weight_decay},
        {"params": [p for p in trainable if p.ndim < 2], "lr": lr, "weight_decay": 0.0},
    ]


class Cosine:
    """Learning-rate factor: up to 1 over 5 % of the steps (at least 50, at most a quarter), then a half cosine to 0."""

    def __init__(self, total: int) -> None:
        self.total = total

    def __call__(self, step: int) -> float:
        """The factor of step 0, 1, ..., total − 1."""
        warmup = max(1, self.total // 20, min(50, self.total // 4))
        falling = min(1.0, max(0, step - warmup) / max(1, self.total - warmup))
        return min(1.0, (step + 1) / warmup) * 0.5 * (1 + math.cos(math.pi * falling))


def _validate(model: nn.Module, dataset: Dataset, preprocessing: Preprocessing, stage: Stage) -> float:
    x = preprocessing.apply(dataset.val.x)  # (N, C, H, W)
    batch_size = max(stage.batch_size, 256)
    if isinstance(model, FlexibleModel):
        accuracies = submodel_accuracies(model, x, dataset.val.y, batch_size=batch_size, device=stage.device)
        return sum(accuracies.values()) / len(accuracies)
    return torch_accuracy(model, x, dataset.val.y, batch_size=batch_size, device=stage.device)


def _copy(model: nn.Module) -> dict[str, Tensor]:
    state: Mapping[str, Tensor] = model.state_dict()
    return {name: tensor.detach().clone() for name, tensor in state.items()}
