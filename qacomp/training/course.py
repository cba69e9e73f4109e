"""What a network learns from on its way towards the original: batches and a loss, with labels or without."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from qacomp.batches.examples import epoch_seed
from qacomp.batches.feed import moved
from qacomp.calibration.tuning import varied
from qacomp.evaluation.on_batches import network_value
from qacomp.training.imitation import Imitation
from qacomp.training.setup import TrainingSetup
from qacomp.training.teaching import Lesson


class Course(Protocol):
    """Batches by epoch, and the loss of a batch. steps: in an epoch."""

    @property
    def steps(self) -> int:
        """Return the number of batches in an epoch."""
        ...

    def digest(self) -> str:
        """Return a hash of what is learned from: a training resumes only on the same data."""
        ...

    def batches(self, stage: str, epoch: int) -> Iterator[tuple[Tensor, Any]]:
        """Yield inputs and targets, on the networks' device; the same ones for the same stage and epoch."""
        ...

    def loss(self, imitation: Imitation, x: Tensor, y: Any) -> Tensor:
        """Return the loss of the imitating network on a batch: scalar float32."""
        ...

    def accuracy(self, model: nn.Module) -> float | None:
        """Return what is measured after an epoch, in percent; None if nothing is."""
        ...

    def watch(self, epoch: int, model: nn.Module) -> None:
        """Look at the network after an epoch, from 1."""
        ...


@dataclass(frozen=True)
class Unlabelled:
    """Inputs (N, ...) without targets, on the networks' device; images are mirrored and shifted at random."""

    inputs: Tensor
    batch_size: int
    seed: int

    @property
    def steps(self) -> int:
        """Return the number of whole batches."""
        return len(self.inputs) // min(self.batch_size, len(self.inputs))

    def digest(self) -> str:
        """Return a SHA-256 of the inputs, in hex."""
        return hashlib.sha256(self.inputs.cpu().numpy().tobytes()).hexdigest()

    def batches(self, stage: str, epoch: int) -> Iterator[tuple[Tensor, Any]]:
        """Yield shuffled batches, without targets."""
        rng = np.random.default_rng(epoch_seed(self.seed, stage, epoch))
        generator = torch.Generator().manual_seed(int(rng.integers(1 << 31)))
        order = torch.from_numpy(rng.permutation(len(self.inputs))).to(self.inputs.device)
        size = min(self.batch_size, len(self.inputs))
        for step in range(self.steps):
            yield varied(self.inputs[order[step * size : (step + 1) * size]], generator), None

    def loss(self, imitation: Imitation, x: Tensor, y: Any) -> Tensor:
        """Return the distance of the outputs and of the norms."""
        return imitation.loss(x)

    def accuracy(self, model: nn.Module) -> float | None:
        """Return None: there are no labels."""
        return None

    def watch(self, epoch: int, model: nn.Module) -> None:
        """Do nothing."""


@dataclass(frozen=True)
class Labelled:
    """The training part of labelled images, with its augmentation; the lesson is that of --distill."""

    setup: TrainingSetup

    @cached_property
    def _lesson(self) -> Lesson:
        return self.setup.objective({}).lesson

    @property
    def steps(self) -> int:
        """Return the number of batches."""
        return self.setup.examples.train.steps(self.setup.config.batch_size)

    def digest(self) -> str:
        """Return the digest of the data."""
        return self.setup.examples.digest()

    def batches(self, stage: str, epoch: int) -> Iterator[tuple[Tensor, Any]]:
        """Yield shuffled, augmented images and labels."""
        c, device = self.setup.config, self.setup.device
        entropy = epoch_seed(c.seed, stage, epoch)
        for batch in self.setup.examples.train.training(c.batch_size, augment=c.augment, entropy=entropy):
            x = moved(batch.x, device)
            assert isinstance(x, Tensor)
            yield x, moved(batch.y, device)

    def loss(self, imitation: Imitation, x: Tensor, y: Any) -> Tensor:
        """Return (1 − λ)·L + λ·(KD + τ²·E), E: the mean relative squared error of the norms.

        τ² makes the shares of KD and E those of training without labels, where neither has a factor.
        """
        precise = self.setup.config.precision != "bf16"
        with torch.autocast(self.setup.device.type, torch.bfloat16, enabled=not precise):
            found, wanted, error = imitation.run(x)
        lesson = self._lesson
        return lesson.taught(found, [wanted], y) + lesson.weight * lesson.temperature**2 * error

    def accuracy(self, model: nn.Module) -> float | None:
        """Return the accuracy on the validation part."""
        setup = self.setup
        size = max(setup.config.batch_size, 256)
        return network_value(model, setup.examples.val, setup.task.metric, batch_size=size, device=setup.device)

    def watch(self, epoch: int, model: nn.Module) -> None:
        """Call what watches the fine-tuning."""
        if self.setup.watch is not None:
            self.setup.watch(epoch, model)
