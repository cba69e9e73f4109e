"""The training loop: one stage of epochs over a dataset's training split, resumable after every epoch."""

import copy
import math
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from qacomp.batches.examples import Examples, epoch_seed
from qacomp.batches.feed import moved
from qacomp.errors import DataError, NonFiniteWeightsError, QacompError
from qacomp.evaluation.metric import ACCURACY, Metric
from qacomp.evaluation.on_batches import Mover, network_value
from qacomp.evaluation.submodels import submodel_values
from qacomp.models.flexible import FlexibleModel
from qacomp.progress import Progress, Task
from qacomp.ranks.batch_norm import SynchronizedNorms
from qacomp.ranks.gradients import add_up_gradients
from qacomp.ranks.ranks import ALONE, Ranks
from qacomp.training.descent import COSINE, Descent
from qacomp.training.divided import BatchPart, check_alike, check_near, parts_of, structure
from qacomp.training.history import EpochRecord
from qacomp.training.objective import Objective
from qacomp.training.resume import ResumeStore

_RUN_OFF = 1e4
"""A loss so many times that of the first step, and above it as a number too, has run off and doesn't come back.

Chosen far above what trainings here recover from, penalties that rise during a warm-up included; not a measured bound.
"""


class DivergedError(QacompError):
    """The training loss, or an output of the trained network, became NaN or infinite, or the loss ran off."""


@dataclass(frozen=True)
class Stage:
    """One stage of training. `name`: a part of the seed for shuffling, and the stage's name in reports.

    `precision`: of matrix products, fp32 or bf16. `keep_best`: at the end, restore the state of the epoch with the best
    validation metric (the state before the first epoch is a candidate too). Otherwise the state of the last epoch
    stays, which a stage with a rising λ needs. metric: what is measured on the validation part. ranks: the processes
    that share each batch.
    """

    name: str
    epochs: int
    batch_size: int
    seed: int
    augment: str
    device: torch.device
    precision: str = "fp32"
    keep_best: bool = False
    descent: Descent = COSINE
    metric: Metric = ACCURACY
    ranks: Ranks = ALONE


@dataclass(frozen=True)
class TrainingHooks:
    """What is called while a training runs.

    progress: shows the steps that are done. store: saves the state after each epoch, so that an interrupted stage
    continues there. watch: called after each epoch with its number, from 1, and the model. note: told in a line what a
    user should know.
    """

    progress: Progress
    store: ResumeStore | None = None
    watch: Callable[[int, nn.Module], None] | None = None
    note: Callable[[str], None] = lambda text: None


def train(
    model: nn.Module,
    data: Examples,
    stage: Stage,
    objective: Objective,
    optimizer: Optimizer,
    hooks: TrainingHooks,
) -> list[EpochRecord]:
    """Train `model` in place, and return a record for each epoch.

    Learning rates follow the stage's `Descent`. If the loss, or what the network returns after an epoch, becomes NaN or
    infinite, or the loss 10,000 times that of the first step, the training ends with the network of the last epoch
    before, and a note says so; in the first epoch DivergedError is raised. With several processes each trains the same
    network on its part of every batch; RanksError if one of them fails.
    """
    return _Loop(model, data, stage, objective, optimizer).run(hooks)


class _Loop:
    """One stage of training: the model, its optimizer and schedule, and the records of the epochs that are done."""

    def __init__(
        self, model: nn.Module, data: Examples, stage: Stage, objective: Objective, optimizer: Optimizer
    ) -> None:
        self.model, self.data, self.stage = model, data, stage
        self.moved = Mover(model, stage.device)
        self.objective, self.optimizer = objective, optimizer
        self.steps = data.train.steps(stage.batch_size)  # in one epoch
        self.schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, stage.descent.rates(self.steps * stage.epochs))
        self.parts: dict[str, Any] = {
            "model": model,
            "optimizer": optimizer,
            "schedule": self.schedule,
            "penalties": objective.modules(),
        }
        self.records: list[EpochRecord] = []
        self.best: tuple[float | None, dict[str, Tensor]] = (None, {})
        self.most = math.inf  # the largest loss of an epoch that hasn't run off

    def run(self, hooks: TrainingHooks) -> list[EpochRecord]:
        """Train the epochs that aren't done yet; return the records of all epochs."""
        stage, store = self.stage, hooks.store
        saved = stage.ranks.from_first(lambda: store.load(stage.name) if store else None)
        if saved is not None:
            self._restore(saved)
        elif stage.keep_best:
            self.best = (self._validate(), _copy(self.model))
        self._agree()
        with hooks.progress.task(stage.name, self.steps * stage.epochs) as task:
            task.advance(self.steps * len(self.records))
            for epoch in range(len(self.records), stage.epochs):
                before = copy.deepcopy(self._state()) if epoch else None
                try:
                    record = self._epoch(epoch, task)
                except DivergedError as error:
                    if before is None:
                        raise
                    self._restore(before)
                    hooks.note(f"{error}; the network of epoch {epoch} is kept")
                    break
                self.records.append(record)
                if stage.keep_best and stage.metric.better(record.measured, self.best[0]):
                    self.best = (record.measured, _copy(self.model))
                self._follow()
                task.describe(f"epoch {epoch + 1}/{stage.epochs}, loss {record.loss:.4f}, val {record.told}")
                if hooks.watch:
                    hooks.watch(epoch + 1, self.model)
                if store:
                    store.save(stage.name, self._state(), last=epoch + 1 == stage.epochs)
        if stage.keep_best:
            self.model.load_state_dict(self.best[1])
        self.model.eval()
        return self.records

    def _state(self) -> dict[str, Any]:
        state: dict[str, Any] = {key: part.state_dict() for key, part in self.parts.items()}
        value, best = self.best
        records = [asdict(r) for r in self.records]
        return state | {"records": records, "best_value": value, "best": best, "most": self.most}

    def _restore(self, saved: dict[str, Any]) -> None:
        for key, part in self.parts.items():
            part.load_state_dict(saved[key])
        self.records = [EpochRecord(**r) for r in saved["records"]]
        self.best, self.most = (saved["best_value"], saved["best"]), saved.get("most", math.inf)

    def _agree(self) -> None:
        """Check that all processes train the same network in the same way, and start from the first one's state."""
        ranks, name = self.stage.ranks, self.stage.name
        if ranks.size > 1:
            check_alike(structure(self._state(), self.steps, self.optimizer, self.objective), name, ranks)
            self._follow()

    def _follow(self) -> None:
        """Go on from the first process's state; a GPU, or another machine, may differ from it by rounding errors."""
        ranks = self.stage.ranks
        if ranks.size > 1:
            first = ranks.from_first(self._state)
            if not ranks.first:
                check_near(self.model, first["model"], f"{self.stage.name}: process {ranks.rank}")
                self._restore(first)

    def _epoch(self, epoch: int, task: Task) -> EpochRecord:
        stage, steps = self.stage, self.steps
        entropy = epoch_seed(stage.seed, stage.name, epoch)
        own = [*entropy, stage.ranks.rank] if stage.ranks.rank else entropy  # other examples need another dropout
        torch.manual_seed(hash(tuple(own)) & 0x7FFFFFFF)  # for dropout; Python hashes ints alike in every process
        self.model.train()
        sums, done = [0.0, 0.0], 0
        batches = self.data.train.training(stage.batch_size, augment=stage.augment, entropy=entropy)
        for done, part in enumerate(parts_of(batches, stage.ranks, self.data.spec), 1):
            loss, penalty = self._step(part, min(1.0, (epoch * steps + done - 1) / (steps * stage.epochs)))
            if not math.isfinite(loss):
                raise self._diverged(f"the loss became {loss}", epoch)
            if epoch == 0 and done == 1:
                self.most = _RUN_OFF * max(1.0, abs(loss))
            sums = [sums[0] + loss, sums[1] + penalty]
            task.advance()
        if not done:
            raise DataError(f"{self.data.spec}: the training part gives no batches; check its length and drop_last")
        loss, penalty = (value / done for value in sums)
        if loss > self.most:
            raise self._diverged(f"the loss rose to {loss:.3g}", epoch)
        measured = stage.ranks.from_first(self._finite)
        if math.isnan(measured):  # the last step of an epoch can be the one that diverges
            raise self._diverged("the network returns NaN or infinity", epoch, "after")
        return EpochRecord.of(stage.name, epoch + 1, (loss, penalty), stage.metric.name, measured)

    def _diverged(self, what: str, epoch: int, when: str = "in") -> DivergedError:
        return DivergedError(f"{self.stage.name}: {what} {when} epoch {epoch + 1}; try a smaller --lr or --strength")

    def _step(self, part: BatchPart, progress: float) -> tuple[float, float]:
        """Take one step; return the task loss and the penalty. progress: fraction of the stage's steps done so far."""
        stage = self.stage
        x, y = self.moved(part.x), moved(part.y, stage.device)
        together = SynchronizedNorms(stage.ranks) if part.divided else nullcontext()
        with torch.autocast(stage.device.type, torch.bfloat16, enabled=stage.precision == "bf16"), together:
            task_loss = self.objective.task_loss(self.model, x, y)
        self.optimizer.zero_grad(set_to_none=True)
        loss = self._backward(task_loss, part.weight)
        penalty = self.objective.add_penalty_gradients(self.model, progress)
        stage.descent.clipped(self.model.parameters())
        self.optimizer.step()
        self.schedule.step()
        return float(loss), float(penalty)

    def _backward(self, loss: Tensor, weight: float) -> Tensor:
        """Set the gradients of the loss over all processes, each with its weight; return that loss, detached."""
        ranks = self.stage.ranks
        if ranks.size == 1:
            loss.backward()  # type: ignore[no-untyped-call]
            return loss.detach()
        own = loss * weight
        own.backward()  # type: ignore[no-untyped-call]
        optimized = chain.from_iterable(group["params"] for group in self.optimizer.param_groups)
        return add_up_gradients(chain(optimized, self.model.parameters()), own, ranks)

    def _validate(self) -> float:
        """Return the metric on the validation part; for a flexible model the sub-models' mean."""
        return self.stage.ranks.from_first(self._measure)

    def _finite(self) -> float:
        """Return the metric on the validation part, NaN if an output is NaN or infinite."""
        try:
            return self._measure()
        except NonFiniteWeightsError:
            return math.nan

    def _measure(self) -> float:
        val, stage = self.data.val, self.stage
        batch_size = max(stage.batch_size, 256)
        if isinstance(self.model, FlexibleModel):
            values = submodel_values(self.model, val, stage.metric, batch_size=batch_size, device=stage.device)
            return sum(values.values()) / len(values)
        return network_value(self.model, val, stage.metric, batch_size=batch_size, device=stage.device)


def parameter_groups(model: nn.Module, lr: float, weight_decay: float) -> list[dict[str, Any]]:
    """Return optimizer groups: weight decay for matrices and filters, none for vectors (biases, norms, codebooks)."""
    trainable = [p for p in model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in trainable if p.ndim >= 2], "lr": lr, "weight_decay": weight_decay},
        {"params": [p for p in trainable if p.ndim < 2], "lr": lr, "weight_decay": 0.0},
    ]


def _copy(model: nn.Module) -> dict[str, Tensor]:
    state: Mapping[str, Tensor] = model.state_dict()
    return {name: tensor.detach().clone() for name, tensor in state.items()}
