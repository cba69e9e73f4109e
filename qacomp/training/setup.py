"""What each training of a compression needs: settings, data, teacher, progress, and the weights that stay zero."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import nn
from torch.optim import Optimizer

from qacomp.batches.examples import Examples
from qacomp.options.config import CompressConfig
from qacomp.progress import Progress
from qacomp.ranks.ranks import ALONE, Ranks
from qacomp.training.descent import COSINE, Descent
from qacomp.training.distillation import among_submodels, lesson_of
from qacomp.training.history import EpochRecord
from qacomp.training.loop import Stage, TrainingHooks, train
from qacomp.training.objective import Objective
from qacomp.training.parametrizations.zeros import NO_ZEROS, Zeros
from qacomp.training.regularizers import Regularizer, strength_schedule
from qacomp.training.resume import ResumeStore
from qacomp.training.task import CLASSIFYING, LossAndMetric


@dataclass(frozen=True)
class TrainingSetup:
    """Everything that a training needs beside the network that it changes.

    config: settings without None. original: the network as it came, the teacher of --distill. store: where the state
    is saved for resuming. zeros: the weights that stay zero. watch: called after each epoch of the fine-tuning.
    note: told in a line what a user should know. task: the loss and the metric. ranks: the processes that share the
    training; untaught: the original has random weights, so it teaches nothing.
    """

    config: CompressConfig
    examples: Examples
    original: nn.Module
    device: torch.device
    progress: Progress
    store: ResumeStore | None = None
    zeros: Zeros = NO_ZEROS
    watch: Callable[[int, nn.Module], None] | None = None
    note: Callable[[str], None] = lambda text: None
    task: LossAndMetric = CLASSIFYING
    ranks: Ranks = ALONE
    untaught: bool = False

    def stage(self, name: str, epochs: int, *, keep_best: bool, descent: Descent = COSINE) -> Stage:
        """Return a stage with the settings' batch size, seed, augmentation, device and precision."""
        c = self.config
        how = (c.precision, keep_best, descent, self.task.metric, self.ranks)
        return Stage(name, epochs, c.batch_size, c.seed, c.augment, self.device, *how)

    def objective(self, penalties: Mapping[str, Regularizer]) -> Objective:
        """Return the objective: task loss, distillation loss if --distill asks for it, and penalties with their λ."""
        c = self.config
        teacher = self.original if c.distill.chosen and not self.untaught else None
        schedule = strength_schedule(c.schedule, c.epochs or 1)
        strategy = c.distill.name if among_submodels(c.distill) else "none"
        lesson = replace(lesson_of(self.original, c.distill), criterion=self.task.criterion)
        return Objective(penalties, schedule, teacher, lesson, strategy, self.zeros.masks)

    def train(
        self,
        model: nn.Module,
        stage: Stage,
        objective: Objective,
        optimizer: Optimizer,
        *,
        watch: Callable[[int, nn.Module], None] | None = None,
    ) -> list[EpochRecord]:
        """Train `model` in place (see `qacomp.training.loop.train`); return a record for each epoch.

        watch: called after each epoch with its number, from 1, and the model. Raises DivergedError.
        """
        hooks = TrainingHooks(self.progress, self.store, watch, self.note)
        return train(model, self.examples, stage, objective, optimizer, hooks)
